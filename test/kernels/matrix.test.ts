import { describe, expect, test } from 'vitest';
import { layoutOf } from '../../src/gpu/layout.ts';
import { joinParts, specialise, type Constants, type Shader } from '../../src/gpu/shader.ts';
import { attentionLaunch, attentionVariants, chooseAttention } from '../../src/kernels/attention.ts';
import { NO_CHOICES } from '../../src/kernels/choice.ts';
import { chooseMatmul, matmulLaunch, matmulVariants } from '../../src/kernels/matmul.ts';
import { MATRIX_SHADERS } from '../../src/kernels/matrix-shaders.ts';
import { attentionMatrixVariants, matmulMatrixVariants } from '../../src/kernels/matrix.ts';
import type { Traits } from '../../src/tensor/traits.ts';
import { nullDevice } from '../null-device.ts';
import { attentionProblem, CPU_DRIVER, DEFAULTS, dense, frozen, matmulProblem } from './problems.ts';

const GPU: Traits = frozen({
  ...DEFAULTS,
  maxComputeWorkgroupStorageSize: 49_152,
  maxComputeInvocationsPerWorkgroup: 1024,
  subgroupSize: 32,
  subgroupMatrix: MATRIX_SHADERS.vectors,
});
/** Subgroups of 32 and of 64. */
const AMD: Traits = frozen({ ...GPU, vendor: 'amd', subgroupSize: 0, requiredSubgroupSize: 32 });
const withMemory = (kibibytes: number) => ({ ...GPU, maxComputeWorkgroupStorageSize: kibibytes * 1024 });
const names = (variants: readonly { name: string }[]) => variants.map(({ name }) => name);
const sizeOf = (dim: number) => ({
  kernelsOf: 'flashAttention' as const,
  dtype: 'float16' as const,
  headDim: dim,
  valueDim: dim,
});

describe('attentionMatrixVariants', () => {
  const fitting = (dim: number, kibibytes: number) =>
    names(attentionMatrixVariants(sizeOf(dim), withMemory(kibibytes)));

  test.each([
    [64, 48, ['matrix-64x32', 'matrix-128x32', 'matrix-64x64', 'matrix-32x32']],
    [128, 48, ['matrix-64x32', 'matrix-128x32', 'matrix-32x32']],
    [256, 48, ['matrix-64x32', 'matrix-32x32']],
    [128, 32, ['matrix-64x32', 'matrix-32x32']],
    [256, 32, []],
    [32, 16, ['matrix-32x32']],
    [64, 16, []],
  ])('head dim %i, %i KiB: %j', (dim, kibibytes, expected) => {
    expect(fitting(dim, kibibytes)).toEqual(expected);
  });

  test('on AMD a subgroup has 16 rows of large dims, and none of more than 128', () => {
    const constants = (dim: number) => {
      const [variant] = attentionMatrixVariants(sizeOf(dim), AMD);
      return variant && attentionLaunch(attentionProblem(sizeOf(dim)), variant, 1, AMD).constants;
    };
    expect(constants(64)).toMatchObject({ BLOCK_Q: 64, ROW_GROUPS: 2, SUBGROUP: 32, WORKGROUP: 128 });
    expect(constants(128)).toMatchObject({ BLOCK_Q: 64, ROW_GROUPS: 4, SUBGROUP: 32, WORKGROUP: 256 });
    expect(constants(129)).toBeUndefined();
  });

  test('none for float32, for dims above 256, or without matrices', () => {
    expect(attentionMatrixVariants({ ...sizeOf(64), dtype: 'float32' }, GPU)).toEqual([]);
    expect(attentionMatrixVariants({ ...sizeOf(64), headDim: 300 }, GPU)).toEqual([]);
    expect(attentionMatrixVariants(sizeOf(64), { ...GPU, subgroupMatrix: undefined })).toEqual([]);
    expect(names(attentionVariants(sizeOf(64), CPU_DRIVER)).filter((name) => name.startsWith('matrix'))).toEqual([]);
  });

  test('none with more invocations than the device allows', () => {
    const variants = attentionMatrixVariants(sizeOf(64), { ...GPU, maxComputeInvocationsPerWorkgroup: 128 });
    expect(names(variants)).toEqual(['matrix-64x32', 'matrix-64x64', 'matrix-32x32']);
  });

  test('none with more lanes than octets of scores', () => {
    const variants = attentionMatrixVariants(sizeOf(64), { ...GPU, subgroupSize: 64 });
    expect(names(variants)).toEqual(['matrix-64x32', 'matrix-128x32', 'matrix-64x64']);
  });

  test('head and value dims share five buckets', () => {
    const bucket = (headDim: number, valueDim: number) =>
      attentionMatrixVariants({ dtype: 'float16', headDim, valueDim }, GPU)[0].dim;
    expect([1, 32, 33, 64, 80, 96, 97, 128, 129].map((dim) => bucket(dim, 1))).toEqual([
      32, 32, 64, 64, 96, 96, 128, 128, 256,
    ]);
    expect(bucket(8, 200)).toBe(256);
  });

  test('no lane holds more than 128 registers of q and O', () => {
    for (const dim of [32, 64, 96, 128, 256]) {
      for (const { blockQ, rowGroups, columnGroups } of attentionMatrixVariants(sizeOf(dim), GPU)) {
        const rows = blockQ / rowGroups;
        expect((rows * dim) / 2 / 32 + (rows * dim) / columnGroups / 32).toBeLessThanOrEqual(128);
      }
    }
  });
});

describe('chosen are', () => {
  test('matrices, where the device was opened for them', () => {
    expect(chooseAttention(sizeOf(64), GPU, NO_CHOICES)).toMatchObject({
      variant: { name: 'matrix-64x32' },
      reason: 'the device was opened for its tensor cores',
    });
    expect(chooseAttention({ ...sizeOf(64), dtype: 'float32' }, GPU, NO_CHOICES).variant.family).toBe('register');
    expect(chooseAttention(sizeOf(64), GPU, NO_CHOICES, 16).variant.name).toBe('tile-32x16');
  });

  test.each([
    [4096, 4096, 'matrix-128x128'],
    [2048, 1024, 'matrix-128x64'],
    [1024, 1024, 'matrix-64x64'],
    [200, 200, 'matrix-32x32'],
    [16, 4096, 'tile-32x32'],
  ])('a product of %i × %i: %s', (rows, columns, kernel) => {
    const size = { batchShape: [], rows, columns, aDType: 'float16' as const };
    expect(chooseMatmul(size, GPU, NO_CHOICES).variant.name).toBe(kernel);
    expect(names(matmulVariants({ ...size, zeroAnnihilates: true }, GPU)).join()).not.toContain('matrix');
    expect(names(matmulVariants({ ...size, bDType: 'float32' }, GPU)).join()).not.toContain('matrix');
    expect(names(matmulVariants({ ...size, aDType: 'float32' }, GPU)).join()).not.toContain('matrix');
  });
});

describe('planAttentionMatrix', () => {
  const plan = (given: Parameters<typeof attentionProblem>[0], traits = GPU) => {
    const problem = frozen(attentionProblem({ dtype: 'float16', ...given }));
    return attentionLaunch(problem, attentionMatrixVariants(problem, traits)[0], 1, traits);
  };

  test('one workgroup for each tile of query rows of each head, whose invocations are whole subgroups', () => {
    const { constants, params, workgroups, shader } = plan({ batch: 2, heads: 3, queryLength: 65 });
    expect(shader.name).toBe('matrix/attention');
    expect(constants).toMatchObject({ DIM: 64, BLOCK_Q: 64, BLOCK_K: 32, SUBGROUP: 32, WORKGROUP: 128 });
    expect(params).toMatchObject({ work: { query_tiles: 2 }, end_group: 12 });
    expect(workgroups).toEqual([12, 1, 1]);
  });

  test('a new length specialises nothing new', () => {
    expect(plan({ queryLength: 1, keyLength: 999 }).constants).toEqual(plan({}).constants);
  });

  test("speaks the compiler's dialect", () => {
    const scalars = plan({}, { ...GPU, subgroupMatrix: MATRIX_SHADERS.scalars }).shader;
    expect(joinParts(plan({}).shader)).toContain('row_major');
    expect(joinParts(scalars)).not.toContain('row_major');
    expect(joinParts(scalars)).toContain('array<f16');
  });
});

describe('matmulLaunch of matrices', () => {
  const [widest] = matmulMatrixVariants({ aDType: 'float16' }, GPU);
  const matmul = (given: Parameters<typeof matmulProblem>[0]) =>
    matmulLaunch(matmulProblem({ aDType: 'float16', bDType: 'float16', outDType: 'float16', ...given }), widest, GPU);

  test('stages each operand along the axis that is contiguous', () => {
    const transposed = { strides: [1, 64], offset: 0 };
    const lies = (given: Parameters<typeof matmulProblem>[0]) => {
      const { A_BY_ROWS, B_BY_ROWS } = matmul(given).constants;
      return [A_BY_ROWS, B_BY_ROWS];
    };
    expect(lies({})).toEqual([false, false]);
    expect(lies({ a: transposed })).toEqual([true, false]);
    expect(lies({ b: transposed })).toEqual([false, true]);
    expect(lies({ a: { strides: [3, 5], offset: 0 } })).toEqual([false, false]);
    expect(lies({ depth: 1, b: { strides: [0, 1], offset: 0 } })).toEqual([false, false]);
  });

  test('a new shape specialises nothing new', () => {
    expect(matmul({ batchShape: [3], rows: 7, columns: 999, depth: 5 }).constants).toEqual(matmul({}).constants);
    expect(matmul({ outDType: 'float32' }).constants).not.toEqual(matmul({}).constants);
  });
});

/** Bytes of workgroup memory as Dawn counts them where they exceed its defaults; `fits` where they do not. */
async function compile(shader: Shader, constants: Constants): Promise<number | 'fits'> {
  const device = await nullDevice();
  const code = specialise(shader, constants);
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const entryPoint = 'main';
  const { storage, uniform } = layoutOf(shader);
  const entries = storage.map(({ binding, access }) => ({ binding, visibility: 4, buffer: { type: access } }));
  entries.push({ binding: uniform!.binding, visibility: 4, buffer: { type: 'uniform' as never } });
  const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
  device.createComputePipeline({ layout, compute: { module, entryPoint } });
  const error = await device.popErrorScope();
  expect(messages.map(({ message }) => message).filter((message) => message !== 'use of deprecated builtin')).toEqual(
    [],
  );
  const bytes = /total use of workgroup storage \((\d+) bytes\) is larger/.exec(error?.message ?? '');
  if (!bytes) expect(error?.message).toBeUndefined();
  return bytes ? Number(bytes[1]) : 'fits';
}

function expectBytes(actual: number | 'fits', planned: number): void {
  if (actual === 'fits') expect(planned).toBeLessThanOrEqual(16_384);
  else expect(actual).toBe(planned);
}

describe("Dawn's compiler accepts, without a word, and with the planned bytes of workgroup memory", () => {
  test.each([32, 64, 96, 128, 256])('attention-matrix at head dim %i', async (dim) => {
    for (const variant of attentionMatrixVariants(sizeOf(dim), GPU)) {
      const { shader, constants } = attentionLaunch(attentionProblem(sizeOf(dim)), variant, 1, GPU);
      expectBytes(await compile(shader, constants), variant.bytes);
    }
  });

  test('matmul-matrix in every layout', async () => {
    for (const variant of matmulMatrixVariants({ aDType: 'float16' }, GPU)) {
      let most = 0;
      for (const a of [dense(64, 64), { strides: [1, 64], offset: 0 }]) {
        for (const b of [dense(64, 64), { strides: [1, 64], offset: 0 }]) {
          const { shader, constants } = matmulLaunch(matmulProblem({ a, b }), variant, GPU);
          const bytes = await compile(shader, constants);
          if (bytes !== 'fits') most = Math.max(most, bytes);
        }
      }
      expectBytes(most || 'fits', variant.bytes);
    }
  });

  test('with a subgroup size of their own, on a device that has several', async () => {
    const [attention] = attentionMatrixVariants(sizeOf(128), AMD);
    const attentionPlan = attentionLaunch(attentionProblem(sizeOf(128)), attention, 1, AMD);
    expectBytes(await compile(attentionPlan.shader, attentionPlan.constants), attention.bytes);
    const [matmul] = matmulMatrixVariants({ aDType: 'float16' }, AMD);
    const matmulPlan = matmulLaunch(matmulProblem(), matmul, AMD);
    for (const { shader, constants } of [attentionPlan, matmulPlan]) {
      expect(specialise(shader, constants)).toMatch(/^enable subgroup_size_control;/);
    }
    expect(Number(await compile(matmulPlan.shader, matmulPlan.constants))).toBeLessThanOrEqual(matmul.bytes);
  });

  test('the older dialect, apart from warnings about its age', async () => {
    const traits = { ...GPU, subgroupMatrix: MATRIX_SHADERS.scalars };
    const [attention] = attentionMatrixVariants(sizeOf(64), traits);
    const attentionPlan = attentionLaunch(attentionProblem(sizeOf(64)), attention, 1, traits);
    expectBytes(await compile(attentionPlan.shader, attentionPlan.constants), attention.bytes);
    const [matmul] = matmulMatrixVariants({ aDType: 'float16' }, traits);
    const matmulPlan = matmulLaunch(matmulProblem(), matmul, traits);
    expect(Number(await compile(matmulPlan.shader, matmulPlan.constants))).toBeLessThanOrEqual(matmul.bytes);
  });
});
