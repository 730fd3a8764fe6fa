/**
 * The code blocks of the documents, and the programs that they make. CONTRIBUTING.md has the rules: the `js` and `ts` blocks of a
 * document run in order, in one scope; one marked `type-check` is a program of its own that only the compiler reads.
 */
import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { documents } from '../../docs/.vitepress/links.ts';

export interface Block {
  readonly document: string;
  /** The line of the document, from 1, on which the code begins. */
  readonly line: number;
  readonly language: string;
  /** What follows the language. */
  readonly note: string;
  readonly text: string;
}

export interface Import {
  readonly from: string;
  /** What is imported: a name of the module, `default` or `*`. */
  readonly name: string;
  readonly as: string;
}

/** Blocks that make a program together. */
export interface Program {
  readonly document: string;
  readonly blocks: readonly Block[];
  readonly imports: readonly Import[];
  /** Typescript with the document's own lines, each block within the scope of those before it, without its imports. */
  readonly text: string;
}

const ROOT = new URL('../../', import.meta.url);

export const DOCUMENTS: readonly string[] = [...documents(), 'bench/peers/README.md', 'bench/static/README.md'];

export function blocksOf(document: string): Block[] {
  const lines = readFileSync(new URL(document, ROOT), 'utf8').split('\n');
  const blocks: Block[] = [];
  let open: { fence: string; indent: number; block: Omit<Block, 'text'>; lines: string[] } | undefined;
  for (const [index, line] of lines.entries()) {
    const [, indent, fence, info] = /^( *)(`{3,}|~{3,})(.*)$/.exec(line) ?? [];
    if (!open && fence) {
      const [, language, note] = /^(\S*)\s*(.*)$/.exec(info)!;
      open = { fence, indent: indent.length, block: { document, line: index + 2, language, note }, lines: [] };
    } else if (open && fence === open.fence && info === '') {
      blocks.push({ ...open.block, text: open.lines.join('\n') });
      open = undefined;
    } else open?.lines.push(line.slice(open.indent));
  }
  if (open) throw new Error(`${document}:${open.block.line - 1}: the code block has no end`);
  return blocks;
}

export const isScript = ({ language }: Block): boolean => language === 'js' || language === 'ts';
export const isOnlyChecked = ({ note }: Block): boolean => /^type-check\b/.test(note);

/** The program that runs: all blocks of a document that are not only type-checked. */
export function runningProgram(document: string): Program | undefined {
  const blocks = blocksOf(document).filter((block) => isScript(block) && !isOnlyChecked(block));
  return blocks.length === 0 ? undefined : programOf(document, blocks);
}

/** The programs that the compiler alone reads: blocks with that mark, and the scripts in blocks of HTML. */
export function checkedPrograms(document: string): Program[] {
  return blocksOf(document).flatMap((block) => {
    if (isScript(block) && isOnlyChecked(block)) return [programOf(document, [block])];
    if (block.language !== 'html') return [];
    return [...block.text.matchAll(/<script type="module">\n([\s\S]*?)<\/script>/g)].map((script) => {
      const before = block.text.slice(0, script.index).split('\n').length;
      return programOf(document, [{ ...block, line: block.line + before, text: script[1] }]);
    });
  });
}

function programOf(document: string, blocks: readonly Block[]): Program {
  const imports: Import[] = [];
  const lines: string[] = [];
  for (const block of blocks) {
    while (lines.length < block.line - 1) lines.push('');
    lines[block.line - 2] += `{ await begin(${block.line});`;
    lines.push(...withoutImports(block, imports).split('\n'));
  }
  lines.push('}'.repeat(blocks.length));
  return { document, blocks, imports, text: lines.join('\n') };
}

/** The text of a block with blanks for its imports, which `imports` gets. */
function withoutImports(block: Block, imports: Import[]): string {
  const file = ts.createSourceFile('block.ts', block.text, ts.ScriptTarget.ES2022);
  let text = block.text;
  for (const statement of file.statements) {
    if (!ts.isImportDeclaration(statement)) continue;
    const from = (statement.moduleSpecifier as ts.StringLiteral).text;
    const add = (name: string, as: string): void => {
      if (!imports.some((known) => known.from === from && known.name === name && known.as === as)) {
        imports.push({ from, name, as });
      }
    };
    const { importClause: clause } = statement;
    if (clause?.name) add('default', clause.name.text);
    const named = clause?.namedBindings;
    if (named && ts.isNamespaceImport(named)) add('*', named.name.text);
    if (named && ts.isNamedImports(named)) {
      for (const { name, propertyName } of named.elements) add((propertyName ?? name).text, name.text);
    }
    const end = statement.getEnd();
    const begin = statement.getStart(file);
    text = text.slice(0, begin) + text.slice(begin, end).replace(/[^\n]/g, ' ') + text.slice(end);
  }
  return text;
}
