/** torch.nn.MultiheadAttention's own outputs and weights, through MultiHeadAttention in float32 and float16. */
import { expect, test } from 'vitest';
import { keyMaskFromTorch, maskFromTorch, MultiHeadAttention, type Device, type Tensor } from '../../src/index.ts';
import { describeConformance, type MhaCase } from '../conformance.ts';
import { testDevice } from '../device.ts';
import { expectClose, expectFloat16Close } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';
import { evaluateMha, expectedMha, stateNames, torchMask } from '../reference/torch-mha.ts';

type Float = 'float32' | 'float16';

describeConformance('mha', (cases) => {
  test.each(cases)('$name, float32', async (c) => {
    const { output, weights } = await run(await testDevice(), c, 'float32');
    const wanted = expectedMha(c);
    expectClose(output, wanted.output, tolerances.float32.module, 'output');
    if (wanted.weights) expectClose(weights!, wanted.weights, tolerances.float32.weights, 'weights');
    else expect(weights).toBeUndefined();
  });

  test.each(cases)('$name, float16', async (c) => {
    const { output, weights } = await run(await testDevice(), c, 'float16');
    const wanted = expectedMha(c);
    const straightforward = evaluateMha(c, { inFloat16: true });
    const room = tolerances.float16.moduleBeyondStraightforward;
    expectFloat16Close(output, straightforward.output.data, wanted.output, room, 'output');
    if (wanted.weights) expectFloat16Close(weights!, straightforward.weights.data, wanted.weights, room, 'weights');
  });
});

async function run(device: Device, c: MhaCase, dtype: Float) {
  const result = device.scope(() => {
    const upload = (name: string) => {
      const { shape, data, dtype: stored } = c.tensor(name);
      return device.tensor(data as Float32Array, shape, { dtype: stored === 'bool' ? 'bool' : dtype });
    };
    const module = new MultiHeadAttention(device, {
      embedDim: c.embed_dim,
      numHeads: c.num_heads,
      kDim: c.kdim ?? undefined,
      vDim: c.vdim ?? undefined,
      bias: c.bias,
      addBiasKv: c.add_bias_kv,
      addZeroAttn: c.add_zero_attn,
      dtype,
    });
    module.loadStateDict(Object.fromEntries(stateNames(c).map((name) => [name, upload(`state/${name}`)])));

    const input = (name: string) => toBatchFirst(c, upload(name));
    const query = input('query');
    const [key, value] = c.self_attention ? [query, query] : [input('key'), input('value')];
    const { output, weights } = module.forward(query, key, value, {
      ...masks(c, upload, dtype),
      needWeights: c.need_weights,
      averageWeights: c.average_attn_weights,
    });
    module.dispose();
    return { output, weights };
  });
  const [output, weights] = await Promise.all([result.output.data(), result.weights?.data()]);
  result.output.dispose();
  result.weights?.dispose();
  return { output, weights };
}

function toBatchFirst(c: MhaCase, x: Tensor): Tensor {
  if (c.unbatched) return x.reshape([1, ...x.shape]);
  return c.batch_first ? x : x.transpose(0, 1);
}

function masks(c: MhaCase, upload: (name: string) => Tensor, dtype: Float): { mask?: Tensor; keyMask?: Tensor } {
  const padding = c.has('key_padding_mask') ? upload('key_padding_mask') : undefined;
  if (padding && padding.dtype !== 'bool') {
    // numbers to add for each key, and perhaps for each pair, are one mask
    const { shape, data } = torchMask(c);
    return { mask: padding.device.tensor(Float32Array.from(data), shape, { dtype }) };
  }
  return {
    mask: c.has('attn_mask') ? maskFromTorch(upload('attn_mask'), c.num_heads) : undefined,
    keyMask: padding && keyMaskFromTorch(padding),
  };
}
