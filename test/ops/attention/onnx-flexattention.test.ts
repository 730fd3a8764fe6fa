/** ONNX's own tests of its operator FlexAttention, at ONNX's bar. float64 is cast to float32. */
import { describe, expect, test } from 'vitest';
import {
  type AttentionOptions,
  type Device,
  matmul,
  maskMod,
  multiply,
  scaledDotProductAttention,
  scoreMod,
  type Tensor,
} from '../../../src/index.ts';
import { describeConformance, type OnnxCase } from '../../conformance.ts';
import { testDevice } from '../../device.ts';
import { narrow } from '../../matrix/narrow.ts';
import { expectClose } from '../../reference/compare.ts';
import { ATTENTION_OPS, type AttentionOp } from './attention-run.ts';
import { call } from './attention-suite.ts';
import { factorOfProbMod, type Subgraph, translateScoreMod } from './onnx-flexattention.ts';
import { upload } from '../upload.ts';

const BAR = { atol: 1e-7, rtol: 1e-3 };

function optionsOf(c: OnnxCase): AttentionOptions {
  const scale = c.attrs['scale'] as number | undefined;
  const subgraph = c.attrs['score_mod'] as Subgraph | undefined;
  const sources = subgraph && translateScoreMod(subgraph);
  return {
    ...(scale !== undefined && { scale }),
    ...(sources?.scoreMod && { scoreMod: scoreMod(sources.scoreMod) }),
    ...(sources?.maskMod && { maskMod: maskMod(sources.maskMod) }),
  };
}

/** With a `prob_mod`, by the weights that are returned. */
function run(device: Device, c: OnnxCase, op: AttentionOp): Tensor {
  const dtype = c.tensor('Q').dtype === 'float16' ? 'float16' : 'float32';
  const [q, k, v] = ['Q', 'K', 'V'].map((slot) => upload(device, c.tensor(slot), dtype));
  const probMod = c.attrs['prob_mod'] as Subgraph | undefined;
  if (!probMod) return call(op, q, k, v, optionsOf(c)).output;
  const { weights } = scaledDotProductAttention(q, k, v, { ...optionsOf(c), returnWeights: true });
  return matmul(multiply(weights!, device.tensor([factorOfProbMod(probMod)], [1])), v);
}

await describeConformance('onnx_flexattention', (cases) => {
  test('has all its cases', () => expect(cases).toHaveLength(11));

  describe.each(ATTENTION_OPS)('%s', (op) => {
    const possible = cases.filter((c) => op === 'scaledDotProductAttention' || !c.attrs['prob_mod']);
    // each is a kernel of its own, and the fused ops take the modifiers in one place
    test.each(op === 'scaledDotProductAttention' ? possible : narrow(possible.slice(0, 3), possible))(
      '$name',
      async (c) => {
        const device = await testDevice();
        using output = device.scope(() => run(device, c, op));
        const { shape, data } = c.tensor('Y');
        expect(output.shape).toEqual(shape);
        expectClose(await output.data(), data, BAR, c.name);
      },
    );
  });
});
