/**
 * Prepares a function that a user wrote in WGSL for compilation into a kernel. It may use its own declarations, WGSL's types
 * and numeric functions, and the names that it is given, but nothing of the kernel's. Every other name is an error here, with
 * its place. Whatever the source declares is renamed, so that it can neither clash with one of the kernel's names nor refer to
 * it by mistake.
 */
import { checkCost, countedRounds, rangesOfArgument, type Expense, type FunctionBody, type Limits } from './cost.ts';
import { asDeclared, ENDS, rangeAt, UNKNOWN, type Range, type Ranges, type Source } from './integer-ranges.ts';
import { checkCounting, countRounds } from './loops.ts';
import { fail, tokenise, type Token } from './tokens.ts';
import { typeBytes, type Scope } from './type-bytes.ts';

export interface Signature {
  /** The function's name. */
  readonly name: string;
  /** Its name in the kernel, if that differs. With `_` after it, it is the prefix of all other names. */
  readonly kernelName?: string;
  /** Types of the parameters. */
  readonly parameters: readonly string[];
  readonly result: string;
  readonly limits: Limits;
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
/** WGSL's types. */
const TYPES = words(
  'bool f32 i32 u32 array vec2 vec3 vec4 mat2x2 mat2x3 mat2x4 mat3x2 mat3x3 mat3x4 mat4x2 mat4x3 mat4x4',
  'vec2f vec3f vec4f vec2i vec3i vec4i vec2u vec3u vec4u',
  'mat2x2f mat2x3f mat2x4f mat3x2f mat3x3f mat3x4f mat4x2f mat4x3f mat4x4f',
);
/** WGSL's functions that touch nothing but their arguments. A kernel must not declare one for itself. */
const FUNCTIONS = words(
  'abs acos acosh all any asin asinh atan atan2 atanh bitcast ceil clamp cos cosh countLeadingZeros countOneBits',
  'countTrailingZeros cross degrees determinant distance dot dot4I8Packed dot4U8Packed exp exp2 extractBits faceForward',
  'firstLeadingBit firstTrailingBit floor fma fract frexp insertBits inverseSqrt ldexp length log log2 max min mix modf',
  'normalize pack2x16float pack2x16snorm pack2x16unorm pack4x8snorm pack4x8unorm pow quantizeToF16 radians reflect',
  'refract reverseBits round saturate select sign sin sinh smoothstep sqrt step tan tanh transpose trunc unpack2x16float',
  'unpack2x16snorm unpack2x16unorm unpack4x8snorm unpack4x8unorm',
);
const CLOSES: ReadonlyMap<string, string> = new Map(['()', '[]', '{}'].map((pair) => [pair[0], pair[1]]));

function words(...lines: string[]): ReadonlySet<string> {
  return new Set(lines.join(' ').split(' '));
}

/** Whether WGSL has a use of its own for the word, as a keyword or a type. */
export function isReserved(name: string): boolean {
  return SYNTAX.has(name) || TYPES.has(name) || name === 'loop' || name === 'while';
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
  const { name, kernelName = name, limits } = signature;
  const tokens = tokenise(caller, source);
  if (tokens.length > limits.tokens) {
    fail(
      caller,
      tokens[limits.tokens],
      `the source must have at most ${limits.tokens} words and symbols, got ${tokens.length}`,
    );
  }
  const closing = matchBrackets(caller, tokens);
  const declared = moduleNames(caller, tokens, closing);
  for (const name of given) {
    const own = declared.get(name);
    if (own) fail(caller, tokens[own.at + 1], `'${name}' is a capture already`);
  }
  checkSignature(caller, tokens, closing, signature);
  const prefix = `${kernelName}_`;
  const { own, functions } = readBodies(caller, { tokens, closing }, declared, given, signature);
  checkCost(caller, tokens, functions, given, limits);
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

/** A declaration outside functions. */
interface Declaration {
  readonly kind: 'fn' | 'const' | 'struct' | 'alias';
  /** Index of that word. The name follows it. */
  readonly at: number;
}

/** The declarations outside functions. Only functions, constants, structs and aliases are accepted there. */
function moduleNames(
  caller: string,
  tokens: readonly Token[],
  closing: ReadonlyMap<number, number>,
): ReadonlyMap<string, Declaration> {
  const declared = new Map<string, Declaration>();
  for (let i = 0; i < tokens.length; i++) {
    const { text } = tokens[i];
    if (text === ';') continue;
    if (text !== 'fn' && text !== 'const' && text !== 'struct' && text !== 'alias') {
      fail(caller, tokens[i], `only fn, const, struct and alias may stand outside of functions, got '${text}'`);
    }
    const name = tokens[i + 1];
    if (name?.kind !== 'name') fail(caller, tokens[i], `'${text}' needs a name`);
    if (isReserved(name.text))
      fail(caller, name, `'${name.text}' is WGSL's own, so that nothing else can have that name`);
    if (declared.has(name.text)) fail(caller, name, `'${name.text}' is declared twice`);
    declared.set(name.text, { kind: text, at: i });
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

/** A name that is known in a scope. */
interface Known {
  readonly ranges: Ranges;
  /** Bytes of arrays and structs in its value. */
  readonly bytes: number;
}

/**
 * Indices of the tokens that name what the source declares or is given, and what its functions cost. Any other name must be
 * WGSL's.
 */
function readBodies(
  caller: string,
  source: Source,
  declared: ReadonlyMap<string, Declaration>,
  given: readonly string[],
  { name: main, limits }: Signature,
): { own: ReadonlySet<number>; functions: ReadonlyMap<string, FunctionBody> } {
  const { tokens, closing } = source;
  const own = new Set<number>();
  const members = new Set<number>();
  const isFunction = (name: string) => declared.get(name)?.kind === 'fn';
  const outermost = moduleScope(caller, source, declared, given);
  const scopes: { names: Map<string, Known>; end: number }[] = [{ names: outermost.names, end: tokens.length }];
  const counters = new Map<number, Ranges>(); // by the `var` that declares them
  const declares = new Map<number, () => [string, Known]>(); // by the semicolon from which on the name is known
  const functions = new Map<string, FunctionBody>();
  const loops: { times: number; end: number }[] = [];
  let expenses: Expense[] = [];
  let statement = 0; // bytes of the largest array or struct in it
  const tables = new Set<string>(); // constants that the function has used
  const refuse = (index: number, problem: string): never => fail(caller, tokens[index], problem);
  const find = (text: string, from: number) => {
    for (let i = from; i < tokens.length; i++) if (tokens[i].text === text) return i;
    return refuse(from - 1, `'${text}' must follow`);
  };
  /** `name:` between two brackets. */
  const labels = (open: number) => {
    const inside = Array.from({ length: closing.get(open)! - open }, (_, i) => open + i);
    return inside.filter((i) => tokens[i].kind === 'name' && tokens[i + 1].text === ':');
  };
  const knownAs = (name: string) => scopes.findLast(({ names }) => names.has(name))?.names.get(name);
  const readAs = (kind: 0 | 1, index: number, ends: readonly string[]) => {
    const rangeOf = (name: string) => knownAs(name)?.ranges[kind];
    return rangeAt(source, index, ends, rangeOf, (name) => knownAs(name) !== undefined);
  };
  const rangesAt = (index: number, ends: readonly string[]): Ranges => [
    readAs(0, index, ends).range,
    readAs(1, index, ends).range,
  ];
  const here: Scope = {
    lengthAt: (index) => readAs(0, index, ENDS.length),
    valueBytes: (index) => knownAs(tokens[index].text)?.bytes ?? 0,
  };
  const endStatement = (at: number) => {
    if (statement > 0) expenses.push({ at, bytes: statement });
    statement = 0;
  };

  tokens.forEach(({ kind, text }, i) => {
    const before = tokens[i - 1];
    while (loops.length > 0 && loops.at(-1)!.end < i) loops.pop();
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
        let assigns = i;
        while (assigns < end && tokens[assigns].text !== '=') assigns++;
        // without a value, Dawn's compiler zeroes it once rather than in each round of a loop
        if (assigns === end) refuse(i + 1, `'${name.text}' needs a value`);
        own.add(i + 1);
        if (scopes.length === 1) functions.set(name.text, { tokens: 0, expenses });
        const type = text === 'const' ? 'literal' : 'i32';
        const values = rangesAt(assigns + 1, ENDS.value).map((range) => asDeclared(source, i + 1, range, type));
        const ranges = text === 'var' ? (counters.get(i) ?? UNKNOWN) : ([values[0], values[1]] as const);
        declares.set(end, () => [name.text, { ranges, bytes: statement }]);
        return;
      }
      case ';': {
        const declaration = declares.get(i)?.();
        if (declaration) scopes.at(-1)!.names.set(...declaration);
        endStatement(i);
        if (scopes.length === 1) expenses = [];
        return;
      }
      case 'struct':
        labels(find('{', i)).forEach((member) => members.add(member));
        return;
      case 'fn': {
        const name = tokens[i + 1].text;
        const parameters = labels(find('(', i));
        parameters.forEach((parameter) => own.add(parameter));
        const end = closing.get(find('{', i))!;
        tables.clear();
        functions.set(name, { tokens: end - i, expenses });
        const names = parameters.map((parameter): [string, Known] => {
          const isArgument = name === main && tokens[parameter + 2].text === 'u32';
          const bytes = outermost.bytesAt(parameter + 2, here);
          return [tokens[parameter].text, { ranges: isArgument ? rangesOfArgument(limits) : UNKNOWN, bytes }];
        });
        scopes.push({ names: new Map(names), end });
        return;
      }
      case 'for': {
        checkCounting(caller, tokens, i, closing);
        const { rounds, ranges } = countRounds(caller, source, i, rangesAt, main);
        const end = closing.get(find('{', i))!;
        const times = (loops.at(-1)?.times ?? 1) * countedRounds(rounds, limits);
        expenses.push({ at: i, rounds: times });
        loops.push({ times, end });
        counters.set(i + 2, ranges);
        scopes.push({ names: new Map(), end });
        return;
      }
      case '{':
        endStatement(i);
        scopes.push({ names: new Map(), end: closing.get(i)! });
        return;
      case '}':
        endStatement(i);
        while (scopes.at(-1)!.end === i) scopes.pop();
        if (scopes.length === 1) expenses = []; // a type costs nothing where it is declared
        return;
    }
    if (kind !== 'name' || before?.text === '.' || SYNTAX.has(text) || members.has(i)) return;
    const known = knownAs(text);
    if (known) own.add(i);
    else if (!own.has(i) && !TYPES.has(text) && !FUNCTIONS.has(text)) refuse(i, `unknown name '${text}'`);
    if (before?.text === 'fn') return;
    const after = tokens[i + 1]?.text;
    const isCall = after === '(' && known !== undefined && knownAs(text) === outermost.names.get(text);
    if (isCall && (isFunction(text) || given.includes(text))) {
      expenses.push({ at: i, callee: text, times: loops.at(-1)?.times ?? 1 });
    }
    statement = Math.max(statement, text === 'array' ? outermost.bytesAt(i, here) : bytesOf(text, known, after));
  });
  return { own, functions };

  /** What a name that is used adds to the bytes of its statement. A table counts once, however often it is read. */
  function bytesOf(name: string, known: Known | undefined, after: string | undefined): number {
    if (!known) return 0;
    if (known !== outermost.names.get(name) || declared.get(name)?.kind !== 'const') {
      return after === '[' || after === '.' ? 0 : known.bytes;
    }
    if (tables.has(name)) return 0;
    tables.add(name);
    return known.bytes;
  }
}

/** What is known of the declarations outside functions, and the bytes of the arrays in a type. */
function moduleScope(
  caller: string,
  source: Source,
  declared: ReadonlyMap<string, Declaration>,
  given: readonly string[],
): { names: Map<string, Known>; bytesAt: ReturnType<typeof typeBytes> } {
  const { tokens, closing } = source;
  const values = new Map<string, Range | undefined>();
  const isOwn = (name: string) => declared.has(name) || given.includes(name);
  const valueAfter = ({ at }: Declaration) => {
    let i = at;
    while (i < tokens.length && tokens[i].text !== '=') i++;
    return i + 1;
  };
  const resultAfter = ({ at }: Declaration) => {
    const end = closing.get(at + 2) ?? tokens.length;
    return tokens[end + 1]?.text === '->' ? end + 2 : tokens.length;
  };
  const constantBytes = new Map<string, number>();
  /** Bytes of the largest array or struct in a constant. */
  const bytesOfConstant = (name: string): number => {
    const declaration = declared.get(name);
    if (declaration?.kind !== 'const') return 0;
    if (!constantBytes.has(name)) {
      constantBytes.set(name, 0); // ends circles
      let bytes = 0;
      for (let i = valueAfter(declaration); i < tokens.length && tokens[i].text !== ';'; i++) {
        const { text } = tokens[i];
        const isType = text === 'array' || typeAt(text) !== undefined;
        bytes = Math.max(bytes, isType ? bytesAt(i, outside) : bytesOfConstant(text));
      }
      constantBytes.set(name, bytes);
    }
    return constantBytes.get(name)!;
  };
  /** `depth` ends circles. */
  const valueOf = (name: string, depth: number): Range | undefined => {
    const declaration = declared.get(name);
    if (declaration?.kind !== 'const' || depth > 32) return undefined;
    if (!values.has(name)) {
      const { range } = rangeFrom(valueAfter(declaration), ENDS.value, depth + 1);
      values.set(name, asDeclared(source, declaration.at + 1, range, 'literal'));
    }
    return values.get(name);
  };
  const rangeFrom = (index: number, ends: readonly string[], depth: number) =>
    rangeAt(source, index, ends, (name) => valueOf(name, depth), isOwn);
  const outside: Scope = {
    lengthAt: (index) => rangeFrom(index, ENDS.length, 0),
    valueBytes: (index) => bytesOfConstant(tokens[index].text),
  };
  const typeAt = (name: string) => {
    const declaration = declared.get(name);
    return declaration?.kind === 'alias' || declaration?.kind === 'struct' ? declaration.at : undefined;
  };
  const bytesAt = typeBytes(caller, source, typeAt, outside);
  const names = new Map<string, Known>(given.map((name) => [name, { ranges: UNKNOWN, bytes: 0 }]));
  for (const [name, declaration] of declared) {
    const { kind, at } = declaration;
    const value = valueOf(name, 0);
    const type = kind === 'fn' ? resultAfter(declaration) : at + 1;
    const bytes = kind === 'const' ? bytesOfConstant(name) : type < tokens.length ? bytesAt(type, outside) : 0;
    names.set(name, { ranges: [value, value], bytes });
  }
  return { names, bytesAt };
}
