/** What the support table tells of a device (document.ts): its name, and the kernels that ops take by default. */
import { expect, test } from 'vitest';
import { chooseAttention } from '../../src/kernels/attention.ts';
import { chooseAttentionGradient } from '../../src/kernels/attention-gradient.ts';
import { chooseMatmul } from '../../src/kernels/matmul.ts';
import { testDevice } from '../device.ts';

const isPage = 'document' in globalThis;

test('the device tells its name, and which kernels ops take', async ({ task }) => {
  const { info, traits, kernels } = await testDevice();
  const size = { kernelsOf: 'flashAttention', dtype: 'float32', headDim: 64, valueDim: 64 } as const;
  const support = {
    device: info.device || info.description || info.architecture,
    driver: info.driver,
    subgroupSize: traits.subgroupSize,
    hasFloat16: info.features.includes('shader-f16'),
    kernels: {
      attention: chooseAttention(size, traits, kernels).variant.name,
      gradient: chooseAttentionGradient(size, 'query', traits, kernels).variant.name,
      matmul: chooseMatmul({ batchShape: [], rows: 512, columns: 512, aDType: 'float32' }, traits, kernels).variant
        .name,
    },
  };
  // run.mjs finds it in vitest's report
  Object.assign(task.meta, { support });
  if (!isPage) expect(info.device).toMatch(/[a-z]/i); // a page may not be told
  expect(Object.values(support.kernels).every((name) => name.length > 0)).toBe(true);
});
