/**
 * Prepares a function that a user wrote in WGSL for compilation into a kernel. It may use its own declarations, WGSL's types
 * and numeric functions, and the names that it is given, but nothing of the kernel's. Every other name is an error here, with
 * its place. Whatever the source declares is renamed, so that it can neither clash with one of the kernel's names nor refer to
 * it by mistake.
 */
import { fail, tokenise, type Token } from './tokens.ts';

export interface Signature {
  /** The function's name. */
  readonly name: string;
  /** Its name in the kernel, if that differs. With `_` after it, it is the prefix of all other names. */
  readonly kernelName?: string;
  /** Types of the parameters. */
  readonly parameters: readonly string[];
  readonly result: string;
}

export interface UserFunction {
  /** Has as many lines as the source, without comments. */
  readonly text: string;
  /** The message of an error at a place in the text: `scoreMod line 3, column 12: what`. */
  readonly explain: (error: string, line: number, column: number) => string;
}

const SYNTAX = words(
  'alias break case const continue default else false fn for if let return struct switch true var _',
);
/** Types and functions that are WGSL's own and touch nothing but their arguments. A kernel must not declare one for itself. */
const PREDECLARED = words(
  'bool f32 i32 u32 array vec2 vec3 vec4 mat2x2 mat2x3 mat2x4 mat3x2 mat3x3 mat3x4 mat4x2 mat4x3 mat4x4',
  'vec2f vec3f vec4f vec2i vec3i vec4i vec2u vec3u vec4u',
  'mat2x2f mat2x3f mat2x4f mat3x2f mat3x3f mat3x4f mat4x2f mat4x3f mat4x4f',
  'abs acos acosh all any asin asinh atan atan2 atanh bitcast ceil clamp cos cosh countLeadingZeros countOneBits',
  'countTrailingZeros cross degrees determinant distance dot dot4I8Packed dot4U8Packed exp exp2 extractBits faceForward',
  'firstLeadingBit firstTrailingBit floor fma fract frexp insertBits inverseSqrt ldexp length log log2 max min mix modf',
  'normalize pack2x16float pack2x16snorm pack2x16unorm pack4x8snorm pack4x8unorm pow quantizeToF16 radians reflect',
  'refract reverseBits round saturate select sign sin sinh smoothstep sqrt step tan tanh transpose trunc unpack2x16float',
  'unpack2x16snorm unpack2x16unorm unpack4x8snorm unpack4x8unorm',
);
const CLOSES: ReadonlyMap<string, string> = new Map(['()', '[]', '{}'].map((pair) => [pair[0], pair[1]]));
const ASSIGNS = words('= += -= *= /= %= &= |= ^= <<= >>= ++ --');

function words(...lines: string[]): ReadonlySet<string> {
  return new Set(lines.join(' ').split(' '));
}

/** Whether WGSL has a use of its own for the word. */
export function isKeyword(name: string): boolean {
  return SYNTAX.has(name) || name === 'loop' || name === 'while';
}

/**
 * Checks the source and renames its declarations. `given` are the names of further functions that it may call, which the
 * caller declares under the same prefix.
 *
 * @throws ArgumentError `caller: line 1, column 2: …`
 */
export function checkFunction(
  caller: string,
  source: string,
  signature: Signature,
  given: readonly string[],
): UserFunction {
  const tokens = tokenise(caller, source);
  const closing = matchBrackets(caller, tokens);
  const declared = moduleNames(caller, tokens, closing);
  for (const name of given) {
    const own = declared.get(name);
    if (own) fail(caller, own, `'${name}' is a capture already`);
  }
  checkSignature(caller, tokens, closing, signature);
  const { name, kernelName = name } = signature;
  const prefix = `${kernelName}_`;
  const own = ownNames(caller, tokens, closing, new Set([...declared.keys(), ...given]));
  const rename = (index: number) => {
    const { text } = tokens[index];
    if (!own.has(index)) return text;
    return text === name ? kernelName : prefix + text;
  };
  const restore = (error: string) => error.replaceAll(prefix, '').replaceAll(kernelName, name);
  return write(caller, tokens, rename, restore);
}

/** The text again, token by token, and where each came from. */
function write(
  caller: string,
  tokens: readonly Token[],
  rename: (index: number) => string,
  restore: (error: string) => string,
) {
  const lines: { text: string; starts: { at: number; column: number }[] }[] = [];
  let end = 1; // column past the token before, in the source
  tokens.forEach(({ text, line, column }, index) => {
    while (lines.length < line) {
      lines.push({ text: '', starts: [] });
      end = 1;
    }
    const last = lines[line - 1];
    last.text += ' '.repeat(column - end);
    last.starts.push({ at: last.text.length + 1, column });
    last.text += rename(index);
    end = column + text.length;
  });
  return {
    text: lines.map(({ text }) => text).join('\n'),
    explain: (error: string, line: number, column: number) => {
      const start = lines[line - 1]?.starts.findLast(({ at }) => at <= column);
      return `${caller} line ${line}, column ${start?.column ?? column}: ${restore(error)}`;
    },
  };
}

/** Index of the bracket that closes each opening one. */
function matchBrackets(caller: string, tokens: readonly Token[]): ReadonlyMap<number, number> {
  const closing = new Map<number, number>();
  const open: number[] = [];
  tokens.forEach((token, index) => {
    if (CLOSES.has(token.text)) open.push(index);
    if (token.text !== ')' && token.text !== ']' && token.text !== '}') return;
    const opening = open.pop();
    if (opening === undefined || CLOSES.get(tokens[opening].text) !== token.text) {
      fail(caller, token, `'${token.text}' closes nothing`);
    }
    closing.set(opening, index);
  });
  const left = open.at(-1);
  if (left !== undefined) fail(caller, tokens[left], `'${tokens[left].text}' is not closed`);
  return closing;
}

/** The declarations outside functions. Only functions, constants, structs and aliases are accepted there. */
function moduleNames(
  caller: string,
  tokens: readonly Token[],
  closing: ReadonlyMap<number, number>,
): ReadonlyMap<string, Token> {
  const declared = new Map<string, Token>();
  for (let i = 0; i < tokens.length; i++) {
    const { text } = tokens[i];
    if (text === ';') continue;
    if (text !== 'fn' && text !== 'const' && text !== 'struct' && text !== 'alias') {
      fail(caller, tokens[i], `only fn, const, struct and alias may stand outside of functions, got '${text}'`);
    }
    const name = tokens[i + 1];
    if (name?.kind !== 'name') fail(caller, tokens[i], `'${text}' needs a name`);
    if (declared.has(name.text)) fail(caller, name, `'${name.text}' is declared twice`);
    declared.set(name.text, name);
    const ends = text === 'fn' || text === 'struct' ? '{' : ';';
    while (i < tokens.length && tokens[i].text !== ends) i = tokens[i].text === '(' ? closing.get(i)! : i + 1;
    i = closing.get(i) ?? i;
  }
  return declared;
}

function checkSignature(
  caller: string,
  tokens: readonly Token[],
  closing: ReadonlyMap<number, number>,
  { name, parameters, result }: Signature,
): void {
  const wanted = `fn ${name}(${parameters.join(', ')}) -> ${result}`;
  const start = tokens.findIndex(({ text }, i) => text === name && tokens[i - 1]?.text === 'fn');
  if (start < 0) fail(caller, { line: 1, column: 1 }, `the source must declare ${wanted}`);
  const end = closing.get(start + 1) ?? start;
  const texts = tokens.slice(start + 2, end).map(({ kind, text }, i) => (kind === 'name' && i % 4 === 0 ? '' : text));
  if (texts.at(-1) === ',') texts.pop();
  const parametersFit = texts.join(' ') === parameters.map((type) => ` : ${type}`).join(' , ');
  const resultFits = ['->', result, '{'].every((text, i) => tokens[end + 1 + i]?.text === text);
  if (!parametersFit || !resultFits) fail(caller, tokens[start], `the function must be ${wanted}`);
}

/** Indices of the tokens that name what the source declares or is given. Any other name must be WGSL's. */
function ownNames(
  caller: string,
  tokens: readonly Token[],
  closing: ReadonlyMap<number, number>,
  known: ReadonlySet<string>,
): ReadonlySet<number> {
  const own = new Set<number>();
  const members = new Set<number>();
  const scopes: { names: Set<string>; end: number }[] = [{ names: new Set(known), end: tokens.length }];
  const declares = new Map<number, string>(); // by the semicolon from which on the name is known
  const refuse = (index: number, problem: string): never => fail(caller, tokens[index], problem);
  const find = (text: string, from: number) => {
    const index = tokens.findIndex((token, i) => i >= from && token.text === text);
    return index < 0 ? refuse(from - 1, `'${text}' must follow`) : index;
  };
  /** `name:` between two brackets. */
  const labels = (open: number) => {
    const inside = Array.from({ length: closing.get(open)! - open }, (_, i) => open + i);
    return inside.filter((i) => tokens[i].kind === 'name' && tokens[i + 1].text === ':');
  };

  tokens.forEach(({ kind, text }, i) => {
    const before = tokens[i - 1];
    switch (text) {
      case '@':
        return refuse(i, 'attributes are not allowed');
      case '&':
        if (!/^(?!return$)[\w.)\]]+$/.test(before?.text ?? '')) refuse(i, 'pointers are not allowed');
        return;
      case 'loop':
      case 'while':
        return refuse(i, `'${text}' is not allowed, only a for that counts`);
      case 'let':
      case 'const':
      case 'var': {
        const end = find(';', i);
        const name = tokens[i + 1];
        if (name.kind !== 'name') refuse(i + 1, `'${text}' needs a name`);
        // without a value, Dawn's compiler zeroes it once rather than in each round of a loop
        if (!tokens.slice(i, end).some((token) => token.text === '=')) refuse(i + 1, `'${name.text}' needs a value`);
        own.add(i + 1);
        declares.set(end, name.text);
        return;
      }
      case ';':
        if (declares.has(i)) scopes.at(-1)!.names.add(declares.get(i)!);
        return;
      case 'struct':
        labels(find('{', i)).forEach((member) => members.add(member));
        return;
      case 'fn': {
        const parameters = labels(find('(', i));
        parameters.forEach((parameter) => own.add(parameter));
        const end = closing.get(find('{', i))!;
        scopes.push({ names: new Set(parameters.map((parameter) => tokens[parameter].text)), end });
        return;
      }
      case 'for': {
        checkCounting(caller, tokens, i, closing);
        scopes.push({ names: new Set(), end: closing.get(find('{', i))! });
        return;
      }
      case '{':
        scopes.push({ names: new Set(), end: closing.get(i)! });
        return;
      case '}':
        while (scopes.at(-1)!.end === i) scopes.pop();
        return;
    }
    if (kind !== 'name' || before?.text === '.' || SYNTAX.has(text) || members.has(i)) return;
    if (scopes.some(({ names }) => names.has(text))) own.add(i);
    else if (!own.has(i) && !PREDECLARED.has(text)) refuse(i, `unknown name '${text}'`);
  });
  return own;
}

/**
 * A kernel that hangs is never interrupted. So a loop must be `for (var i = …; i < …; i++)`, or with `>` and `--`, and its
 * body must not change i. Then it ends. With `<=` it might not, because the largest number plus one wraps to the smallest.
 */
function checkCounting(
  caller: string,
  tokens: readonly Token[],
  start: number,
  closing: ReadonlyMap<number, number>,
): void {
  const end = closing.get(start + 1) ?? start;
  const header = tokens.slice(start + 2, end);
  const name = header[1]?.text;
  const [first, second] = header.flatMap(({ text }, i) => (text === ';' ? [i] : []));
  const texts = header.map(({ text }) => text);
  const counts =
    texts[0] === 'var' &&
    texts[first + 1] === name &&
    texts.slice(second + 1).join(' ') === `${name} ${texts[first + 2] === '>' ? '--' : '++'}` &&
    ['<', '>'].includes(texts[first + 2]) &&
    !texts.includes('||');
  if (!counts || tokens[end + 1]?.text !== '{') {
    fail(caller, tokens[start], 'a loop must count: for (var i = …; i < …; i++) { … }, or down with > and --');
  }
  for (let i = end; i < closing.get(end + 1)!; i++) {
    if (tokens[i].text !== name) continue;
    let after = i + 1;
    while (tokens[after].text === ')') after++; // (i) = 0
    if (ASSIGNS.has(tokens[after].text)) {
      fail(caller, tokens[i], `the loop's counter '${name}' must not be changed in its body`);
    }
  }
}
