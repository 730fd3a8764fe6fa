/** The section in which a sentence's attention is looked at. */
import { afterPause, element, showValue } from '../elements.ts';
import { tokenizer } from '../model.ts';
import type { Network } from '../network.ts';
import { colourOf, cssColour, drawLarge, drawSmall, isDark, type Frame } from './matrix.ts';
import { allTiles, keysOf, visitedTiles, type Band, type TiledKernel } from './tiles.ts';
import { attentionWeights, type Settings } from './weights.ts';

/** More tokens would have cells that no finger hits. */
const MOST_TOKENS = 40;
const TYPING_PAUSE = 120;
/** From this weight on, a chip's text is white in light mode, black in dark mode. */
const STRONG = 0.3;

export interface AttentionView {
  /** Computes with other modifiers. Rejects with what is wrong with them; the picture is then as before. */
  setModifiers(modifiers: Settings['modifiers']): Promise<void>;
}

export function showAttention(network: Network): AttentionView {
  const { numLayers, numHeads } = network.config;
  const sentence = element<HTMLTextAreaElement>('sentence');
  const canvas = element<HTMLCanvasElement>('matrix');
  const preview = element<HTMLCanvasElement>('preview');
  const previewCaption = element('preview-caption');
  const readout = element('readout');
  const chips = element('tokens');
  const showAll = element<HTMLButtonElement>('show-all');
  const heads = element('heads');
  const problem = element('attention-error');
  const count = element('tiles-count');
  const boxes = Object.fromEntries(
    ['causal', 'has-window', 'has-softcap', 'alibi'].map((id) => [id, element<HTMLInputElement>(id)]),
  );
  const ranges = { window: element<HTMLInputElement>('window'), softcap: element<HTMLInputElement>('softcap') };
  const tiles = element<HTMLSelectElement>('tiles');
  const block = element<HTMLSelectElement>('block');

  let modifiers: Settings['modifiers'] = {};
  /** Those that the picture was last computed with. */
  let working = modifiers;
  const hidden = new Set<number>();
  let chosenHead = { layer: Math.min(1, numLayers - 1), head: 0 };
  let chosen = { query: 0, key: 0 };
  let frame: Frame = { left: 0, top: 0, cell: 1 };
  /** What is drawn: it belongs together, so it is replaced whole. */
  let shown: { labels: string[]; layers: Float32Array[]; band: Band; hidden: ReadonlySet<number> } | undefined;
  let latest = 0;
  /** One computation at a time: an error of the GPU rejects the wait that comes next, whosever it is. */
  let running: Promise<void> = Promise.resolve();

  const thumbnails = Array.from({ length: numLayers * numHeads }, (_, index) => {
    const place = { layer: Math.floor(index / numHeads), head: index % numHeads };
    const button = document.createElement('button');
    button.type = 'button';
    button.setAttribute('role', 'radio');
    button.setAttribute('aria-label', `Layer ${place.layer + 1}, head ${place.head + 1}`);
    button.title = `Layer ${place.layer + 1}, head ${place.head + 1}`;
    const small = document.createElement('canvas');
    button.append(small);
    button.addEventListener('click', () => chooseHead(index));
    button.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: numHeads, ArrowUp: -numHeads }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      chooseHead((index + step + thumbnails.length) % thumbnails.length).focus();
    });
    heads.append(button);
    return { button, small, ...place };
  });

  function chooseHead(index: number): HTMLButtonElement {
    const { button, layer, head } = thumbnails[index];
    chosenHead = { layer, head };
    draw();
    return button;
  }

  function settings(length: number): Settings & { band: Band } {
    return {
      band: {
        length,
        isCausal: boxes['causal'].checked,
        ...(boxes['has-window'].checked && { window: Number(ranges.window.value) }),
      },
      ...(boxes['has-softcap'].checked && { softcap: Number(ranges.softcap.value) }),
      hasAlibi: boxes['alibi'].checked,
      hidden: new Set(hidden),
      modifiers,
    };
  }

  /** Computes and draws, unless something else has been asked for when its turn comes. */
  function compute(): Promise<void> {
    const number = ++latest;
    const done = running.then(() => (number === latest ? computeNow() : undefined));
    running = done.catch(() => undefined);
    return done;
  }

  async function computeNow(): Promise<void> {
    const tokens = tokenizer.encode(sentence.value).slice(0, MOST_TOKENS);
    if (tokens.length === 0) throw new Error('Type a sentence to see what attention looks at.');
    const labels = tokens.map((token) => labelOf(tokenizer.decode([token])));
    for (const key of hidden) if (key >= tokens.length) hidden.delete(key);
    const wanted = settings(tokens.length);
    const layers = await attentionWeights(network, tokens, wanted);
    working = wanted.modifiers;
    const isOther = labels.join('\n') !== shown?.labels.join('\n');
    shown = { labels, layers, band: wanted.band, hidden: wanted.hidden };
    if (isOther) {
      chosen = firstInteresting(labels.length);
      writeChips(labels);
    }
    draw();
    problem.textContent = '';
  }

  const recompute = (): void => {
    compute().catch((error: Error) => {
      problem.textContent = error.message;
    });
  };

  function firstInteresting(length: number): { query: number; key: number } {
    const query = length - 1;
    return { query, key: largestIn(weightsOf(chosenHead), query, length) };
  }

  function weightsOf({ layer, head }: { layer: number; head: number }): Float32Array {
    const { labels, layers } = shown!;
    return layers[layer].subarray(head * labels.length ** 2, (head + 1) * labels.length ** 2);
  }

  function draw(): void {
    if (!shown) return;
    const { labels, band } = shown;
    const weights = weightsOf(chosenHead);
    const kernel = tiles.value as TiledKernel | 'none';
    const size = Number(block.value);
    const visited = kernel === 'none' ? undefined : visitedTiles(kernel, band, size);
    frame = drawLarge(canvas, { weights, labels, band, hidden: shown.hidden, tiles: visited, chosen });
    drawLarge(preview, { weights, labels, band, hidden: shown.hidden, tiles: undefined, chosen });
    previewCaption.textContent = `Layer ${chosenHead.layer + 1}, head ${chosenHead.head + 1}, on the sentence above.`;
    for (const { button, small, layer, head } of thumbnails) {
      drawSmall(small, weightsOf({ layer, head }), labels.length);
      const isChosen = layer === chosenHead.layer && head === chosenHead.head;
      button.setAttribute('aria-checked', String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
    }
    count.textContent = visited
      ? `${kernel} visits ${visited.length} tiles of ${allTiles(labels.length, size)}, and skips what is crossed out. Real tiles have 16 to 128 rows.`
      : '';
    drawChosen(weights);
  }

  /** The readout and the tints follow the chosen cell. */
  function drawChosen(weights: Float32Array): void {
    const { labels, band } = shown!;
    const { query, key } = chosen;
    const weight = weights[query * labels.length + key];
    const where = `layer ${chosenHead.layer + 1}, head ${chosenHead.head + 1}`;
    const why = reasonHidden(query, key, band);
    readout.replaceChildren(
      strong(quote(labels[query])),
      ` (${query}) looks at `,
      strong(quote(labels[key])),
      ` (${key}): `,
      strong(why ?? weight.toFixed(3)),
      ` · ${where}`,
    );
    for (const [token, chip] of Array.from(chips.children).entries()) {
      const share = weights[query * labels.length + token];
      const { style } = chip as HTMLElement;
      style.backgroundColor = cssColour(colourOf(share));
      style.color = share > STRONG ? 'var(--on-strong)' : 'var(--ink)';
      chip.classList.toggle('chosen', token === query);
      chip.setAttribute('aria-pressed', String(shown!.hidden.has(token)));
    }
    showAll.disabled = shown!.hidden.size === 0;
  }

  function reasonHidden(query: number, key: number, band: Band): string | undefined {
    if (shown!.hidden.has(key)) return 'hidden by the key mask';
    if (band.isCausal && key > query) return 'hidden, because it comes later (causal)';
    const [first, end] = keysOf(query, band);
    return key < first || key >= end ? 'outside of the window' : undefined;
  }

  function writeChips(labels: readonly string[]): void {
    chips.replaceChildren(
      ...labels.map((label, token) => {
        const chip = document.createElement('button');
        chip.type = 'button';
        chip.textContent = label;
        chip.setAttribute('aria-label', `Hide ${quote(label)}`);
        chip.addEventListener('click', () => {
          if (!hidden.delete(token)) hidden.add(token);
          recompute();
        });
        return chip;
      }),
    );
  }

  function choose(query: number, key: number): void {
    if (!shown) return;
    const last = shown.labels.length - 1;
    const clamp = (value: number) => Math.min(last, Math.max(0, value));
    const next = { query: clamp(query), key: clamp(key) };
    if (next.query === chosen.query && next.key === chosen.key) return;
    chosen = next;
    draw();
  }

  const pointAt = (event: PointerEvent): void => {
    const x = Math.floor((event.offsetX - frame.left) / frame.cell);
    const y = Math.floor((event.offsetY - frame.top) / frame.cell);
    if (x >= 0 && y >= 0) choose(y, x);
  };
  canvas.addEventListener('pointermove', pointAt);
  canvas.addEventListener('pointerdown', pointAt);
  canvas.addEventListener('keydown', (event) => {
    const moves: Record<string, [number, number]> = {
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      Home: [0, -MOST_TOKENS],
      End: [0, MOST_TOKENS],
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    choose(chosen.query + move[0], chosen.key + move[1]);
  });
  sentence.addEventListener('input', () => hidden.clear());
  sentence.addEventListener('input', afterPause(TYPING_PAUSE, recompute));
  for (const box of Object.values(boxes)) box.addEventListener('change', recompute);
  for (const [name, range] of Object.entries(ranges)) {
    range.addEventListener('input', () => {
      showValue(range);
      // whoever moves the slider wants the option
      boxes[`has-${name}`].checked = true;
      recompute();
    });
  }
  for (const select of [tiles, block]) select.addEventListener('change', draw);
  showAll.addEventListener('click', () => {
    hidden.clear();
    recompute();
  });
  isDark.addEventListener('change', draw);
  new ResizeObserver(draw).observe(canvas);
  recompute();

  return {
    async setModifiers(next) {
      modifiers = next;
      try {
        await compute();
      } catch (error) {
        if (modifiers === next) modifiers = working;
        throw error;
      }
    },
  };
}

/** A space is part of the next token here; it would only push the words apart. */
function labelOf(text: string): string {
  if (text === '\n') return '⏎';
  return text.trim() === '' ? '␣' : text.trim();
}

function largestIn(weights: Float32Array, query: number, length: number): number {
  const row = weights.subarray(query * length, (query + 1) * length);
  return row.indexOf(Math.max(...row));
}

function strong(text: string): HTMLElement {
  const part = document.createElement('strong');
  part.textContent = text;
  return part;
}

function quote(text: string): string {
  return `“${text}”`;
}
