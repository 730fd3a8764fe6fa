/**
 * Shortens the WGSL that is shipped. Comments go, and so do spaces and line ends that nothing needs. Names that the shaders
 * declare become short ones:
 *
 * - A name of a module, or of a struct's member, becomes the same in all files.
 * - A name of a function's own becomes the same in all functions, and one letter stands for many of them. Two that meet in
 *   one function have two letters. What was alike so stays alike, which compresses well.
 *
 * These names stay: constants that launches specialise, functions that are replaced, and the bindings and fields of uniforms, by
 * which launches give what a kernel reads (src/gpu/layout.ts). Texts that replace a function use no others.
 */
const REPLACEABLE = '// replaceable';
const DIRECTIVE = /^(?:enable|requires|diagnostic)\b/;
const SWIZZLE = /^(?:[xyzw]{1,4}|[rgba]{1,4})$/;
const TOKEN = new RegExp(
  [
    /\/\/.*/,
    /@?[A-Za-z_]\w*/,
    /0[xX][\da-fA-F.]+(?:[pP][+-]?\d+[fh]?)?[iu]?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[iufh]?/,
    /->|&&|\|\||[=!<>+\-*/%&|^]=|\+\+|--/,
    /\S/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'g',
);
const KEYWORDS = new Set(
  (
    'alias break case const const_assert continue continuing default discard else enable false fn for if let loop ' +
    'override return struct switch true var while as do in is of on or main'
  ).split(' '),
);

/** Who gives a name its meaning: the module (or WGSL), a function, or a struct. */
type Scope = 'module' | 'function' | 'struct';

interface Token {
  readonly text: string;
  readonly isName: boolean;
  scope?: Scope;
  /** Whether it is the place where the name is declared. */
  isDeclared?: boolean;
  /** The function that it stands in. */
  body?: Body;
}

/** A function: its names, and those of the module that it uses. */
interface Body {
  readonly own: Set<string>;
  readonly others: Set<string>;
}

/**
 * @param files the text of every shader and part
 * @param specialised words among which are all constants that launches specialise
 */
export function minifier(files: readonly string[], specialised: ReadonlySet<string>): (text: string) => string {
  const tokens = files.map(read);
  const names = shortNames(tokens, specialised);
  return (text) => write(read(text), names, specialised);
}

function read(text: string): Token[] {
  const tokens = text.split(/\r?\n/).flatMap((line) => {
    if (line === REPLACEABLE || DIRECTIVE.test(line)) return [{ text: line.replace(/;.*/, ';'), isName: false }];
    const words = Array.from(line.matchAll(TOKEN), ([word]) => word).filter((word) => !word.startsWith('//'));
    return words.map((word): Token => ({ text: word, isName: /^[A-Za-z_]/.test(word) && !KEYWORDS.has(word) }));
  });
  findScopes(tokens);
  return tokens;
}

function findScopes(tokens: readonly Token[]): void {
  let depth = 0;
  let begun: 'fn' | 'struct' | undefined;
  let body: Body | undefined;
  tokens.forEach((token, i) => {
    const { text } = token;
    const [before, after] = [tokens[i - 1]?.text, tokens[i + 1]?.text];
    if (depth === 0 && (text === 'fn' || text === 'struct')) {
      begun = text;
      body = text === 'fn' ? { own: new Set(), others: new Set() } : undefined;
    }
    if (text === '{') depth++;
    if (text === '}' && --depth === 0) begun = body = undefined;
    // an attribute's name is WGSL's: @builtin(workgroup_id)
    if (!token.isName || (before === '(' && tokens[i - 2].text === '@builtin')) return;
    token.body = body;
    const isMember = begun === 'struct' && depth > 0 && after === ':';
    // a parameter or a variable of the module has a type
    token.isDeclared = isMember || /^(?:fn|struct|alias|const|let|var)$/.test(before) || (depth === 0 && after === ':');
    if (isMember || before === '.') token.scope = 'struct';
    else if (body && before !== 'fn') token.scope = 'function';
    else token.scope = 'module';
    if (token.scope === 'function' && token.isDeclared) body!.own.add(text);
  });
  for (const token of tokens) {
    if (token.scope === 'function' && !token.body!.own.has(token.text)) token.scope = 'module';
    if (token.scope === 'module') token.body?.others.add(token.text);
  }
}

type Names = Readonly<Record<Scope, ReadonlyMap<string, string>>>;

const LOWER = Array.from('abcdefghijklmnopqrstuvwxyz');
const UPPER = LOWER.map((letter) => letter.toUpperCase());
const DIGITS = Array.from('0123456789');
const pairs = (first: readonly string[], second: readonly string[]) =>
  first.flatMap((letter) => second.map((other) => letter + other));
const isNoSwizzle = (name: string) => !SWIZZLE.test(name);
/** No name of a function is one of a module. */
const FREE: Readonly<Record<Scope, readonly string[]>> = {
  module: [...UPPER, ...pairs(UPPER, [...LOWER, ...UPPER, ...DIGITS]), ...pairs(LOWER, [...LOWER, ...UPPER])],
  function: [...LOWER, ...pairs(LOWER, DIGITS)],
  struct: [...LOWER, ...UPPER, ...pairs(LOWER, LOWER)].filter(isNoSwizzle),
};

function shortNames(files: readonly (readonly Token[])[], specialised: ReadonlySet<string>): Names {
  const all = files.flat();
  const declared = { module: new Set<string>(), function: new Set<string>(), struct: new Set<string>() };
  for (const { text, scope, isDeclared } of all) if (scope && isDeclared) declared[scope].add(text);
  // where a function has a name that a module has too, either may be meant
  const kept = { ...keptNames(files, specialised), function: declared.module };
  const uses = {
    module: new Map<string, number>(),
    function: new Map<string, number>(),
    struct: new Map<string, number>(),
  };
  const taken = { module: new Set(KEYWORDS), function: new Set<string>(), struct: new Set(kept.struct) };
  for (const { text, scope } of all) {
    if (!scope) continue;
    const isOurs = declared[scope].has(text) && !kept[scope].has(text) && (scope !== 'struct' || isNoSwizzle(text));
    if (isOurs) uses[scope].set(text, (uses[scope].get(text) ?? 0) + 1);
    else taken[scope].add(text);
  }
  const byUse = (scope: Scope) => [...uses[scope]].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  const inTurn = (scope: Scope) => {
    const free = FREE[scope].filter((name) => !taken[scope].has(name));
    return new Map(byUse(scope).map((name, i) => [name, free[i]]));
  };
  const module = inTurn('module');
  const shared = new Map([...declared.module].map((name) => [name, module.get(name) ?? name]));
  return { module, struct: inTurn('struct'), function: colour(byUse('function'), all, shared) };
}

/** The bindings and the fields of uniforms, the constants that are specialised, and the functions that are replaced. */
function keptNames(files: readonly (readonly Token[])[], specialised: ReadonlySet<string>) {
  const module = new Set<string>();
  // every kernel has a struct Params
  const structs: [name: string, members: Token[]][] = [];
  const uniforms: string[] = [];
  for (const tokens of files) {
    const textAt = (i: number) => tokens[i]?.text;
    const nameAfter = (i: number) => tokens.slice(i).find(({ isName, isDeclared }) => isName && isDeclared)!;
    tokens.forEach(({ text }, i) => {
      if (text === REPLACEABLE || text === '@binding') module.add(nameAfter(i).text);
      if (text === 'const' && specialised.has(textAt(i + 1))) module.add(textAt(i + 1));
      if (text === 'uniform') uniforms.push(textAt(tokens.indexOf(nameAfter(i)) + 2));
      if (text !== 'struct') return;
      const end = tokens.findIndex((token, j) => j > i && token.text === '}');
      structs.push([textAt(i + 1), tokens.slice(i + 2, end)]);
    });
  }
  const struct = new Set<string>();
  const seen = new Set<string>();
  for (const name of uniforms) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const { text, scope } of structs.flatMap(([own, members]) => (own === name ? members : []))) {
      if (scope === 'struct') struct.add(text);
      else uniforms.push(text);
    }
  }
  return { module, struct };
}

/** A letter for each name of functions, the most used first: the first that stands for nothing else in any function with it. */
function colour(names: readonly string[], tokens: readonly Token[], module: ReadonlyMap<string, string>) {
  const bodies = [...new Set(tokens.flatMap(({ body }) => body ?? []))];
  const letters = new Map(module);
  for (const name of names) {
    const meeting = bodies.filter(({ own }) => own.has(name));
    const taken = new Set([
      ...meeting.flatMap(({ own }) => [...own].map((other) => letters.get(other))),
      ...meeting.flatMap(({ others }) => [...others].map((other) => module.get(other) ?? other)),
    ]);
    letters.set(
      name,
      FREE.function.find((letter) => !taken.has(letter))!,
    );
  }
  return letters;
}

/**
 * Lines begin where src/gpu/shader.ts looks for a beginning: at a constant that may be specialised, at the mark of a function,
 * which is then one line, and at a directive.
 */
function write(tokens: readonly Token[], names: Names, specialised: ReadonlySet<string>): string {
  let written = '';
  let depth = 0;
  let isMarked = false;
  const words = tokens.map(({ text, scope }) => number(scope ? (names[scope].get(text) ?? text) : text));
  tokens.forEach(({ text, body }, i) => {
    const isLine = text === REPLACEABLE || DIRECTIVE.test(text);
    const isConstant = text === 'const' && !body && specialised.has(tokens[i + 1].text);
    if ((isLine || isConstant) && written !== '' && !written.endsWith('\n')) written += '\n';
    if (needsSpace(written.slice(-2), words[i])) written += ' ';
    written += isLine ? `${words[i]}\n` : words[i];
    if (text === REPLACEABLE) isMarked = true;
    if (text === '{') depth++;
    if (text === '}' && --depth === 0 && isMarked) {
      written += '\n';
      isMarked = false;
    }
  });
  return `${written.trimEnd().replace(/\bvec([234])<([fiu])32>/g, 'vec$1$2')}\n`;
}

function number(text: string): string {
  return text.replace(/^(\d+\.)0$/, '$1').replace(/^0(\.\d)/, '$1');
}

/** Whether two tokens would become others without a space between them. */
function needsSpace(before: string, after: string): boolean {
  if (/\w$/.test(before)) return /^(?:\w|\.\d)/.test(after);
  const [last, next] = [before.slice(-1), after[0]];
  if (next === '=') return /[-+*/%&|^<>=!]/.test(last);
  return /[-+&|/]/.test(last) && (last === next || `${last}${next}` === '->');
}
