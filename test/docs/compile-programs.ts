/** Type-checks the code blocks of the documents against the library's types. */
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import type { Program } from './blocks.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** How documents name the package, and what that is here. */
const ENTRIES: Readonly<Record<string, string>> = {
  'webgpu-attention': 'src/index.ts',
  'webgpu-attention/models': 'src/models.ts',
  'webgpu-attention/browser': 'src/browser.ts',
  'npm:webgpu-attention': 'src/index.ts',
  './node_modules/webgpu-attention/dist/browser.js': 'src/browser.ts',
};

/** Types of the global names that documents use are those of Node and of a page. */
const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  lib: [
    'lib.es2023.d.ts',
    'lib.esnext.disposable.d.ts',
    'lib.dom.d.ts',
    'lib.dom.iterable.d.ts',
    'lib.dom.asynciterable.d.ts',
  ],
  types: ['node', 'vite/client'],
  strict: true,
  // JavaScript can neither give a parameter a type nor say that an optional result is there
  noImplicitAny: false,
  strictNullChecks: false,
  allowImportingTsExtensions: true,
  skipLibCheck: true,
  noEmit: true,
};

/** What the compiler says, each with the place in the document. */
export function compileErrors(programs: readonly Program[]): string[] {
  const texts = new Map(programs.map((program, index) => [`${ROOT}block-${index}.ts`, moduleOf(program)]));
  const names = new Map(programs.map((program, index) => [`${ROOT}block-${index}.ts`, program.document]));
  const host = ts.createCompilerHost(OPTIONS);
  const [getSourceFile, fileExists, readFile] = [
    host.getSourceFile.bind(host),
    host.fileExists.bind(host),
    host.readFile.bind(host),
  ];
  host.fileExists = (path) => texts.has(path) || fileExists(path);
  host.readFile = (path) => texts.get(path) ?? readFile(path);
  host.getSourceFile = (path, ...rest) => {
    const text = texts.get(path);
    return text === undefined ? getSourceFile(path, ...rest) : ts.createSourceFile(path, text, ts.ScriptTarget.ES2022);
  };
  host.resolveModuleNameLiterals = (literals, from) =>
    literals.map(({ text }) => {
      const entry = text === '#platform' ? 'src/platform/node.ts' : ENTRIES[text];
      return entry
        ? { resolvedModule: { resolvedFileName: ROOT + entry, extension: ts.Extension.Ts } }
        : ts.resolveModuleName(text, from, OPTIONS, host);
    });
  const program = ts.createProgram([...texts.keys()], OPTIONS, host);
  return [...texts.keys()].flatMap((path) => {
    const file = program.getSourceFile(path)!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map((found) => {
      const { line } = file.getLineAndCharacterOfPosition(found.start ?? 0);
      return `${names.get(path)}:${line + 1}: ${ts.flattenDiagnosticMessageText(found.messageText, ' ')}`;
    });
  });
}

/** The text of a program as a module, with its imports before the first line, so that lines are those of the document. */
function moduleOf({ imports, text }: Program): string {
  const clauses = imports.map(({ from, name, as }) => {
    const clause = name === '*' ? `* as ${as}` : name === 'default' ? as : `{ ${name} as ${as} }`;
    return `import ${clause} from ${JSON.stringify(from)};`;
  });
  return `${clauses.join(' ')} export {}; declare function begin(line: number): Promise<void>;${text}`;
}
