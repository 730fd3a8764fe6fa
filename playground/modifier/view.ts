/** The section in which a score or mask modifier is written. */
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { bracketMatching, indentOnInput } from '@codemirror/language';
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from '@codemirror/view';
import { maskMod, scoreMod } from 'webgpu-attention';
import type { AttentionView } from '../attention/view.ts';
import { afterPause, element } from '../elements.ts';
import { EXAMPLES } from './examples.ts';
import { problemOf } from './problem.ts';
import { wgsl } from './wgsl-language.ts';

/** A new source is a new kernel, which takes a moment to compile. */
const TYPING_PAUSE = 250;

const theme = EditorView.theme({
  '&': { fontSize: '14px' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.6' },
  '.cm-gutters': { background: 'var(--field)', color: 'var(--soft)', borderRight: '1px solid var(--faint)' },
  '.cm-activeLine, .cm-activeLineGutter': { background: 'color-mix(in srgb, var(--action) 8%, transparent)' },
  '.cm-content': { caretColor: 'var(--ink)' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    background: 'color-mix(in srgb, var(--action) 28%, transparent)',
  },
});

export function showModifier(view: AttentionView): void {
  const applies = element<HTMLInputElement>('applies');
  const example = element<HTMLSelectElement>('example');
  const status = element('modifier-status');
  const editor = new EditorView({
    parent: element('editor'),
    doc: Object.values(EXAMPLES)[0],
    extensions: [
      lineNumbers(),
      lintGutter(),
      history(),
      drawSelection(),
      indentOnInput(),
      bracketMatching(),
      highlightActiveLine(),
      keymap.of([...defaultKeymap, ...historyKeymap]),
      wgsl(),
      theme,
      EditorView.contentAttributes.of({ 'aria-label': 'WGSL of the modifier', 'aria-describedby': 'modifier-status' }),
      EditorView.updateListener.of(({ docChanged }) => {
        if (!docChanged) return;
        applies.checked = true;
        applySoon();
      }),
    ],
  });
  let latest = 0;

  async function apply(): Promise<void> {
    const number = ++latest;
    const source = editor.state.doc.toString();
    try {
      await view.setModifiers(applies.checked ? modifiersOf(source) : {});
      if (number === latest) show([], applies.checked ? 'Applied to every layer.' : 'Not applied.');
    } catch (error) {
      if (number !== latest) return;
      const { line, column, message } = problemOf((error as Error).message);
      const { from, to } = editor.state.doc.line(Math.min(line, editor.state.doc.lines));
      const start = Math.min(from + column - 1, to);
      const length = /^\w+/.exec(editor.state.sliceDoc(start, to))?.[0].length ?? 1;
      const end = Math.min(start + length, to);
      show([{ from: start, to: end, severity: 'error', message }], `Line ${line}, column ${column}: ${message}`);
    }
  }

  function show(diagnostics: Diagnostic[], text: string): void {
    editor.dispatch(setDiagnostics(editor.state, diagnostics));
    status.textContent = text;
    status.classList.toggle('error', diagnostics.length > 0);
  }

  const applySoon = afterPause(TYPING_PAUSE, () => void apply());
  for (const name of Object.keys(EXAMPLES)) example.append(new Option(name));
  example.addEventListener('change', () => {
    const changes = { from: 0, to: editor.state.doc.length, insert: EXAMPLES[example.value] };
    editor.dispatch({ changes });
  });
  applies.addEventListener('change', () => void apply());
}

function modifiersOf(source: string): Parameters<AttentionView['setModifiers']>[0] {
  return /\bfn\s+mask_mod\b/.test(source) ? { maskMod: maskMod(source) } : { scoreMod: scoreMod(source) };
}
