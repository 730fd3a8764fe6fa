/**
 * ONNX's operator FlexAttention has its modifiers as subgraphs over all scores at once. What they do to one score is a text
 * in WGSL for ours: positions come as ranges that are reshaped to an axis, and a key is hidden by a score of −∞.
 */

export interface Subgraph {
  nodes: { op: string; inputs: string[]; outputs: string[]; attrs: Record<string, unknown> }[];
  inputs: string[];
  outputs: string[];
  initializers: Record<string, { shape: number[]; data: number | number[] | string }>;
}

/** What a name of the graph stands for: numbers, what is known of the scores' shape, or an expression of one score. */
type Value =
  | { kind: 'numbers'; numbers: number[] }
  | { kind: 'shape' }
  | { kind: 'length' | 'range'; axis: number }
  | { kind: 'expression'; type: 'f32' | 'i32' | 'bool'; text: string }
  | { kind: 'hidden'; unless: string; text: string };

const POSITIONS = ['batch', 'head', 'query', 'key'];
const OPERATORS: Readonly<Record<string, string>> = { Add: '+', Sub: '-', Mul: '*', Div: '/' };

/** Sources for `scoreMod` and `maskMod`. */
export function translateScoreMod(graph: Subgraph): { scoreMod?: string; maskMod?: string } {
  const values = new Map<string, Value>([[graph.inputs[0], { kind: 'expression', type: 'f32', text: 'score' }]]);
  for (const [name, { data }] of Object.entries(graph.initializers)) {
    const numbers = [data].flat().map((number) => (number === '-inf' ? -Infinity : Number(number)));
    values.set(name, { kind: 'numbers', numbers });
  }
  for (const { op, inputs, outputs, attrs } of graph.nodes) {
    const given = inputs.map((name) => values.get(name)!);
    const value = evaluate(op, given, attrs);
    if (!value) throw new Error(`no translation of ${op} of ${given.map(({ kind }) => kind).join(', ')}`);
    values.set(outputs[0], value);
  }
  const result = values.get(graph.outputs[0])!;
  if (result.kind !== 'expression' && result.kind !== 'hidden') throw new Error(`the scores become ${result.kind}`);
  const parameters = 'batch: u32, head: u32, query: u32, key: u32';
  return {
    ...(result.text !== 'score' && {
      scoreMod: `fn score_mod(score: f32, ${parameters}) -> f32 { return ${result.text}; }`,
    }),
    ...(result.kind === 'hidden' && { maskMod: `fn mask_mod(${parameters}) -> bool { return ${result.unless}; }` }),
  };
}

function evaluate(op: string, [a, b, c]: readonly Value[], attrs: Record<string, unknown>): Value | undefined {
  if (op === 'Shape') return { kind: 'shape' };
  if (op === 'Gather' && a.kind === 'shape') return { kind: 'length', axis: numbersOf(b)[0] };
  if (op === 'Range' && b.kind === 'length' && numbersOf(a)[0] === 0 && numbersOf(c)[0] === 1) {
    return { kind: 'range', axis: b.axis };
  }
  if (op === 'Reshape' && a.kind === 'range') {
    const shape = numbersOf(b);
    const lies = shape.indexOf(-1) + POSITIONS.length - shape.length;
    if (lies === a.axis && shape.every((length) => Math.abs(length) === 1)) {
      return { kind: 'expression', type: 'i32', text: `i32(${POSITIONS[lies]})` };
    }
  }
  if (op === 'Cast' && attrs['to'] === 1) return { kind: 'expression', type: 'f32', text: `f32(${textOf(a)})` };
  if (op === 'Tanh') return { kind: 'expression', type: 'f32', text: `tanh(${textOf(a)})` };
  if (op === 'GreaterOrEqual')
    return { kind: 'expression', type: 'bool', text: `(${textOf(a, b)} >= ${textOf(b, a)})` };
  if (op in OPERATORS) {
    const type = a.kind === 'expression' ? a.type : (b as { type: 'f32' }).type;
    return { kind: 'expression', type, text: `(${textOf(a, b)} ${OPERATORS[op]} ${textOf(b, a)})` };
  }
  if (op === 'Where' && c.kind === 'numbers' && c.numbers[0] === -Infinity) {
    return { kind: 'hidden', unless: textOf(a), text: textOf(b) };
  }
  return undefined;
}

function numbersOf(value: Value): number[] {
  if (value.kind !== 'numbers') throw new Error(`expected numbers, got ${value.kind}`);
  return value.numbers;
}

/** A number takes the type of what it meets. */
function textOf(value: Value, partner?: Value): string {
  if (value.kind === 'expression') return value.text;
  if (value.kind === 'numbers' && partner?.kind === 'expression') return `${partner.type}(${value.numbers[0]})`;
  throw new Error(`expected an expression, got ${value.kind}`);
}

/** The factor by which a subgraph multiplies the softmax's weights: ours are returned, not modified. */
export function factorOfProbMod({ nodes, inputs, outputs, initializers }: Subgraph): number {
  const [
    {
      op,
      inputs: [x, factor],
      outputs: [y],
    },
  ] = nodes;
  if (nodes.length !== 1 || op !== 'Mul' || x !== inputs[0] || y !== outputs[0]) throw new Error('no single product');
  return Number(initializers[factor].data);
}
