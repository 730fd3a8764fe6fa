/** An object that only looks like a tensor is refused at the door by every public function that takes tensors. */
import { beforeAll, describe, expect, test } from 'vitest';
import * as surface from '../../src/index.ts';
import { ArgumentError, Tensor, type Device, type DType } from '../../src/index.ts';
import { testDevice } from '../device.ts';

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});

type Arguments = Readonly<Record<string, Tensor | undefined>>;
/** The op's tensors by name, and its call on them. */
type Row = { tensors: () => Arguments; call: (tensors: never) => unknown };

const row = <T extends Arguments>(tensors: () => T, call: (tensors: T) => unknown): Row => ({ tensors, call });
const float = (...shape: number[]) => device.zeros(shape);
const whole = (dtype: DType, ...shape: number[]) => device.zeros(shape, { dtype });
const qkv = () => ({ query: float(1, 2, 3, 8), key: float(1, 2, 5, 8), value: float(1, 2, 5, 8) });
const attention = (op: typeof surface.flashAttention) =>
  row(
    () => ({
      ...qkv(),
      mask: whole('bool', 3, 5),
      keyMask: whole('bool', 1, 5),
      sinks: float(2),
      alibiSlopes: float(2),
      keyLengths: whole('int32', 1),
      queryOffset: whole('int32', 1),
    }),
    ({ query, key, value, ...options }) => op(query, key, value, options),
  );

const OPS: Readonly<Record<string, Row>> = {
  matmul: row(
    () => ({ a: float(2, 3), b: float(3, 4), bias: float(4) }),
    ({ a, b, bias }) => surface.matmul(a, b, { bias }),
  ),
  linear: row(
    () => ({ x: float(2, 3), weight: float(4, 3), bias: float(4) }),
    ({ x, weight, bias }) => surface.linear(x, weight, { bias }),
  ),
  softmax: row(
    () => ({ x: float(1, 1, 2, 3), mask: whole('bool', 2, 3) }),
    ({ x, mask }) => surface.softmax(x, { mask }),
  ),
  embedding: row(
    () => ({ ids: whole('int32', 3), weight: float(4, 2) }),
    ({ ids, weight }) => surface.embedding(ids, weight),
  ),
  layerNorm: row(
    () => ({ x: float(2, 3), weight: float(3), bias: float(3) }),
    ({ x, ...options }) => surface.layerNorm(x, 3, options),
  ),
  rmsNorm: row(
    () => ({ x: float(2, 3), weight: float(3) }),
    ({ x, weight }) => surface.rmsNorm(x, 3, { weight }),
  ),
  gelu: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.gelu(x),
  ),
  silu: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.silu(x),
  ),
  relu: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.relu(x),
  ),
  add: row(
    () => ({ x: float(3), y: float(3) }),
    ({ x, y }) => surface.add(x, y),
  ),
  multiply: row(
    () => ({ x: float(3), y: float(3) }),
    ({ x, y }) => surface.multiply(x, y),
  ),
  subtract: row(
    () => ({ x: float(3), y: float(3) }),
    ({ x, y }) => surface.subtract(x, y),
  ),
  divide: row(
    () => ({ x: float(3), y: float(3) }),
    ({ x, y }) => surface.divide(x, y),
  ),
  power: row(
    () => ({ x: float(3), y: float(3) }),
    ({ x, y }) => surface.power(x, y),
  ),
  maximum: row(
    () => ({ x: float(3), y: float(3) }),
    ({ x, y }) => surface.maximum(x, y),
  ),
  minimum: row(
    () => ({ x: float(3), y: float(3) }),
    ({ x, y }) => surface.minimum(x, y),
  ),
  exp: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.exp(x),
  ),
  log: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.log(x),
  ),
  sqrt: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.sqrt(x),
  ),
  tanh: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.tanh(x),
  ),
  sigmoid: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.sigmoid(x),
  ),
  abs: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.abs(x),
  ),
  mseLoss: row(
    () => ({ x: float(3), target: float(3) }),
    ({ x, target }) => surface.mseLoss(x, target),
  ),
  bceWithLogits: row(
    () => ({ logits: float(3), target: float(3) }),
    ({ logits, target }) => surface.bceWithLogits(logits, target),
  ),
  swiglu: row(
    () => ({ gate: float(3), up: float(3) }),
    ({ gate, up }) => surface.swiglu(gate, up),
  ),
  rotaryEmbedding: row(
    () => ({ x: float(1, 2, 3, 4), cos: float(8, 2), sin: float(8, 2), positions: whole('int32', 3) }),
    ({ x, cos, sin, positions }) => surface.rotaryEmbedding(x, cos, sin, { positions }),
  ),
  crossEntropy: row(
    () => ({ logits: float(2, 3), targets: whole('int32', 2) }),
    ({ logits, targets }) => surface.crossEntropy(logits, targets),
  ),
  sum: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.sum(x),
  ),
  mean: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.mean(x),
  ),
  dropout: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.dropout(x),
  ),
  sample: row(
    () => ({ logits: float(2, 3) }),
    ({ logits }) => surface.sample(logits),
  ),
  cast: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.cast(x, 'float16'),
  ),
  clone: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.clone(x),
  ),
  contiguous: row(
    () => ({ x: float(3) }),
    ({ x }) => surface.contiguous(x),
  ),
  reshape: row(
    () => ({ x: float(4) }),
    ({ x }) => surface.reshape(x, [2, 2]),
  ),
  concat: row(
    () => ({ x: float(3), y: float(3) }),
    ({ x, y }) => surface.concat(x, y, 0),
  ),
  flashAttention: attention(surface.flashAttention),
  localAttention: attention((q, k, v, options) =>
    surface.localAttention(q, k, v, { ...options, window: { left: 2, right: 2 } }),
  ),
  scaledDotProductAttention: attention(surface.scaledDotProductAttention),
  mergeAttention: row(
    () => ({ output: float(1, 2, 3, 8), logSumExp: float(1, 2, 3) }),
    (part) => surface.mergeAttention([part]),
  ),
  maskFromTorch: row(
    () => ({ attnMask: whole('bool', 3, 5) }),
    ({ attnMask }) => surface.maskFromTorch(attnMask, 2),
  ),
  keyMaskFromTorch: row(
    () => ({ keyPaddingMask: whole('bool', 1, 5) }),
    ({ keyPaddingMask }) => surface.keyMaskFromTorch(keyPaddingMask),
  ),
  maskFromBlocked: row(
    () => ({ blocked: whole('bool', 3, 5) }),
    ({ blocked }) => surface.maskFromBlocked(blocked),
  ),
  alibi: row(
    () => ({ slopes: float(2) }),
    ({ slopes }) => surface.alibi(slopes),
  ),
  documentMask: row(
    () => ({ documents: whole('int32', 5) }),
    ({ documents }) => surface.documentMask(documents),
  ),
  prefixLm: row(
    () => ({ prefix: whole('int32', 1) }),
    ({ prefix }) => surface.prefixLm(prefix),
  ),
  clipGradNorm: row(
    () => ({ "parameter '0'": float(3) }),
    (parameters) => surface.clipGradNorm(Object.values(parameters), 1),
  ),
};

/** Public functions that take no tensor themselves. */
const OTHERS = [
  'attentionHeatmap', // below
  'causalMask',
  'cosineAnnealing',
  'createBlockMask',
  'createDevice',
  'drawAttentionHeatmap', // below
  'linearWarmup',
  'loadSafetensors',
  'maskMod',
  'noGrad',
  'readSafetensorsHeader',
  'saveSafetensors',
  'scoreMod',
  'slidingWindow',
  'softcap',
  'stepDecay',
];

test('the table has every public function that takes tensors', () => {
  const functions = Object.keys(surface).filter((name) => /^[a-z]/.test(name));
  expect([...Object.keys(OPS), ...OTHERS].sort()).toEqual(functions.sort());
});

const LOOKALIKES: readonly [string, (tensor: Tensor) => Tensor][] = [
  ['an object with the prototype', (): Tensor => Object.create(Tensor.prototype) as Tensor],
  [
    "an object with the prototype and a tensor's properties",
    ({ shape, dtype, strides, offset }): Tensor => {
      const own = { device, shape, dtype, strides, offset, disposed: false };
      return Object.create(Tensor.prototype, Object.getOwnPropertyDescriptors(own)) as Tensor;
    },
  ],
  ['a Proxy', (tensor): Tensor => new Proxy(tensor, {})],
];

describe.each(LOOKALIKES)('%s of a tensor', (_, imitate) => {
  test.each(Object.keys(OPS))('is refused by %s', async (op) => {
    const { tensors, call } = OPS[op] as { tensors: () => Arguments; call: (tensors: Arguments) => unknown };
    device.scope(() => {
      const genuine = tensors();
      for (const name of Object.keys(genuine)) {
        const failure = ((): unknown => {
          try {
            return call({ ...genuine, [name]: imitate(genuine[name]!) });
          } catch (error) {
            return error;
          }
        })();
        expect(failure).toBeInstanceOf(ArgumentError);
        const { message } = failure as Error;
        expect(message).toMatch(new RegExp(`^${op}: .*${name}`));
        expect(message).toContain('an object that only looks like one, such as a Proxy of a tensor');
      }
    });
    await device.sync();
  });

  test('is refused by its own methods', async () => {
    await Promise.resolve();
    const tensor = imitate(float(2, 3));
    const refusal = (method: string) =>
      new ArgumentError(
        `${method}: the tensor must be a Tensor, got an object that only looks like one, such as a Proxy of a tensor`,
      );
    expect(() => tensor.reshape([6])).toThrow(refusal('reshape'));
    expect(() => tensor.transpose()).toThrow(refusal('transpose'));
    expect(() => tensor.slice(0, 1)).toThrow(refusal('slice'));
    expect(() => tensor.expand([2, 2, 3])).toThrow(refusal('expand'));
    expect(() => tensor.detach()).toThrow(refusal('detach'));
    expect(() => tensor.backward()).toThrow(refusal('backward'));
    expect(() => tensor.buffer).toThrow(refusal('buffer'));
    expect(() => tensor.dispose()).toThrow(refusal('dispose'));
    await expect(tensor.data()).rejects.toThrow(refusal('data'));
  });

  test('is refused by what holds or changes tensors', async () => {
    const like = imitate(float(1, 2, 3, 8));
    const cache = new surface.KeyValueCache(device, { batch: 1, numKvHeads: 2, headDim: 8, capacity: 8 });
    const genuine = float(1, 2, 3, 8);
    const leaf = device.zeros([1, 2, 3, 8], { requiresGrad: true });
    for (const call of [
      () => (leaf.grad = like),
      () => cache.append(like, genuine),
      () => cache.append(genuine, like),
      () => cache.attend(like),
      () => new surface.SGD([like], { lr: 1 }),
      () => new surface.Linear(device, { inFeatures: 8, outFeatures: 8 }).forward(like),
      () => new surface.Linear(device, { inFeatures: 8, outFeatures: 8 }).loadStateDict({ weight: like }),
      () => surface.scoreMod('fn score_mod() {}', { captures: { like } }),
      () => surface.sum(leaf).backward(like),
    ]) {
      expect(call).toThrow(/^[\w.]+: .*only looks like one/);
    }
    await expect(surface.saveSafetensors({ like })).rejects.toThrow(/^saveSafetensors: "like" must be a Tensor/);
    await expect(surface.attentionHeatmap(like)).rejects.toThrow(/^attentionHeatmap: /);
    await expect(surface.drawAttentionHeatmap({} as never, like)).rejects.toThrow(/^drawAttentionHeatmap: /);
    cache.dispose();
  });
});

test('`instanceof Tensor` tells tensors from what looks like them', () => {
  const tensor = float(1);
  expect(tensor).toBeInstanceOf(Tensor);
  for (const [, imitate] of LOOKALIKES) expect(imitate(tensor)).not.toBeInstanceOf(Tensor);
  for (const value of [undefined, null, 1, 'x', {}, Tensor]) expect(value).not.toBeInstanceOf(Tensor);
  tensor.dispose();
});
