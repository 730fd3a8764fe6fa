import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, Rolldown } from 'tsdown';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as surface from '../../src/index.ts';
import * as models from '../../src/models.ts';
import { wgslPlugin } from '../../build/wgsl-plugin.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

test('the public surface is what it was', () => {
  const { values, types } = exportsOf(readFileSync(join(root, 'src/index.ts'), 'utf8'));
  expect(Object.keys(surface).sort()).toEqual(values);
  expect(values).toMatchInlineSnapshot(`
    [
      "Adam",
      "AdamW",
      "AdapterNotFoundError",
      "ArgumentError",
      "CrossAttention",
      "Device",
      "DeviceLostError",
      "Dropout",
      "Embedding",
      "FlashAttention",
      "GradScaler",
      "KeyValueCache",
      "LambdaLR",
      "LayerNorm",
      "Linear",
      "LoadError",
      "LocalAttention",
      "Module",
      "ModuleList",
      "MultiHeadAttention",
      "Optimiser",
      "OutOfMemoryError",
      "PagedKeyValueCache",
      "ProjectedContext",
      "RMSNorm",
      "RotaryEmbedding",
      "SGD",
      "ScaledDotProductAttention",
      "SelfAttention",
      "Sequential",
      "ShaderError",
      "Tensor",
      "TransformerDecoder",
      "TransformerDecoderCache",
      "TransformerDecoderLayer",
      "TransformerEncoder",
      "TransformerEncoderLayer",
      "ValidationError",
      "WebGPUAttentionError",
      "abs",
      "add",
      "alibi",
      "attentionHeatmap",
      "bceWithLogits",
      "cast",
      "causalMask",
      "clipGradNorm",
      "clone",
      "concat",
      "contiguous",
      "cosineAnnealing",
      "createBlockMask",
      "createDevice",
      "crossEntropy",
      "divide",
      "documentMask",
      "drawAttentionHeatmap",
      "dropout",
      "embedding",
      "exp",
      "flashAttention",
      "gelu",
      "keyMaskFromTorch",
      "layerNorm",
      "linear",
      "linearWarmup",
      "loadSafetensors",
      "localAttention",
      "log",
      "maskFromBlocked",
      "maskFromTorch",
      "maskMod",
      "matmul",
      "maximum",
      "mean",
      "mergeAttention",
      "minimum",
      "mseLoss",
      "multiply",
      "noGrad",
      "power",
      "prefixLm",
      "readSafetensorsHeader",
      "relu",
      "reshape",
      "rmsNorm",
      "rotaryEmbedding",
      "sample",
      "saveSafetensors",
      "scaledDotProductAttention",
      "scoreMod",
      "sigmoid",
      "silu",
      "slidingWindow",
      "softcap",
      "softmax",
      "sqrt",
      "stepDecay",
      "subtract",
      "sum",
      "swiglu",
      "tanh",
    ]
  `);
  expect(types).toMatchInlineSnapshot(`
    [
      "AdamOptions",
      "Alignment",
      "AppendOptions",
      "AttendOptions",
      "AttentionCache",
      "AttentionDropoutForwardOptions",
      "AttentionDropoutOptions",
      "AttentionForwardOptions",
      "AttentionHeatmapOptions",
      "AttentionModuleResult",
      "AttentionOptions",
      "AttentionPart",
      "AttentionResult",
      "BlockMask",
      "BlockMaskOptions",
      "BufferOptions",
      "CacheDType",
      "CachedAttentionOptions",
      "CachedForwardOptions",
      "Captures",
      "Causal",
      "ClipGradNormOptions",
      "CompileEvent",
      "CrossAttentionOptions",
      "CrossEntropyOptions",
      "DType",
      "DeviceInfo",
      "DeviceOptions",
      "DispatchTime",
      "DropoutModuleOptions",
      "DropoutOptions",
      "EmbeddingOptions",
      "FlashAttentionModuleOptions",
      "FlashAttentionOptions",
      "FloatDType",
      "FloatTensor",
      "GeluOptions",
      "GradScalerOptions",
      "HeatmapCanvasContext",
      "HeatmapWeights",
      "KernelProfile",
      "KeyValueCacheOptions",
      "KeyValueOptions",
      "Layer",
      "LayerNormModuleOptions",
      "LayerNormOptions",
      "LearningRate",
      "LearningRateFactor",
      "LinearModuleOptions",
      "LinearOptions",
      "LivingTensors",
      "LoadSafetensorsOptions",
      "LoadStateDictOptions",
      "LoadStateDictResult",
      "LocalAttentionModuleOptions",
      "LocalAttentionOptions",
      "LossOptions",
      "MaskMod",
      "MatmulOptions",
      "MemoryDetail",
      "MemoryUse",
      "Modifier",
      "ModifierOptions",
      "MultiHeadAttentionOptions",
      "OptimiserParameters",
      "PagedAppendOptions",
      "PagedAttendOptions",
      "PagedKeyValueCacheOptions",
      "ParameterGroup",
      "PositionOptions",
      "PrepareOptions",
      "PrepareProgress",
      "Profile",
      "ProfileOptions",
      "ProfileRoof",
      "ProjectionOptions",
      "RmsNormModuleOptions",
      "RmsNormOptions",
      "RotaryEmbeddingModuleOptions",
      "RotaryEmbeddingOptions",
      "RotaryPositions",
      "RotaryScaling",
      "RotaryTables",
      "SampleOptions",
      "ScaledDotProductAttentionModuleOptions",
      "ScaledDotProductAttentionOptions",
      "ScaledDotProductAttentionResult",
      "ScoreMod",
      "ScoreOptions",
      "SgdOptions",
      "Shape",
      "SoftmaxOptions",
      "StateDict",
      "SumOptions",
      "TensorData",
      "TensorOrNumber",
      "TensorSource",
      "TransformerDecoderCacheOptions",
      "TransformerDecoderForwardOptions",
      "TransformerDecoderLayerCache",
      "TransformerEncoderForwardOptions",
      "TransformerLayerOptions",
      "TransformerStackOptions",
      "TunableOp",
      "TuneOptions",
      "TuneProgress",
      "TuneResult",
      "TunedCandidate",
      "TunedChoice",
      "VisibilityOptions",
      "WaitOptions",
      "WaitProgress",
      "Window",
    ]
  `);
});

test('the surface of the models is what it was', () => {
  const { values, types } = exportsOf(readFileSync(join(root, 'src/models.ts'), 'utf8'));
  expect(Object.keys(models).sort()).toEqual(values);
  expect(values).toMatchInlineSnapshot(`
    [
      "EncodedText",
      "Llama",
      "generate",
      "loadModel",
      "readHuggingFaceLlama",
      "readHuggingFaceTokenizer",
      "readLlama2c",
      "readLlama2cTokenizer",
    ]
  `);
  expect(types).toMatchInlineSnapshot(`
    [
      "EncodeOptions",
      "EncoderDecoder",
      "EncoderDecoderConfig",
      "ForwardOptions",
      "GenerateOptions",
      "GenerateResult",
      "HostWeight",
      "ImageEncoder",
      "ImageEncoderConfig",
      "LanguageModel",
      "LanguageModelConfig",
      "LlamaCache",
      "LlamaCacheOptions",
      "LlamaCheckpoint",
      "LlamaConfig",
      "LlamaOptions",
      "LoadModelOptions",
      "LoadedModel",
      "ModelCache",
      "ModelCacheOptions",
      "ModelFiles",
      "ModelKind",
      "ModelOptions",
      "Speculation",
      "TextEncoder",
      "TextEncoderConfig",
      "TextStream",
      "Tokenizer",
    ]
  `);
});

/** The names that a file of re-exports exports, sorted. */
function exportsOf(source: string): { values: string[]; types: string[] } {
  const values: string[] = [];
  const types: string[] = [];
  for (const statement of ts.createSourceFile('index.ts', source, ts.ScriptTarget.Latest).statements) {
    if (!ts.isExportDeclaration(statement) || !statement.exportClause || !ts.isNamedExports(statement.exportClause)) {
      throw new Error(`the file holds named re-exports only, got ${ts.SyntaxKind[statement.kind]}`);
    }
    for (const { name, isTypeOnly } of statement.exportClause.elements) {
      (statement.isTypeOnly || isTypeOnly ? types : values).push(name.text);
    }
  }
  return { values: values.sort(), types: types.sort() };
}

test('src/index.ts may hold nothing but named re-exports', () => {
  expect(() => exportsOf('export const x = 1;')).toThrow('named re-exports only');
  expect(() => exportsOf(`export * from './ops/softmax.ts';`)).toThrow('named re-exports only');
  expect(exportsOf(`export { b, type C } from './b.ts'; export type { A } from './a.ts';`)).toEqual({
    values: ['b'],
    types: ['A', 'C'],
  });
});

describe('bundled by a user of the built package', () => {
  let folder: string;

  // The package as npm would lay it out: its own package.json decides between the platforms.
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-'));
    writeFileSync(join(folder, 'package.json'), readFileSync(join(root, 'package.json')));
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
    await build({ cwd: root, outDir: join(folder, 'dist'), dts: false, logLevel: 'silent' });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** Bundles a program that uses the main entry; what stays an import, and which packages were drawn in. */
  async function bundle(platform: 'browser' | 'node'): Promise<{ imports: string[]; packages: string[] }> {
    const program = join(folder, `${platform}.js`);
    writeFileSync(program, `export * from 'webgpu-attention';`);
    const bundler = await Rolldown.rolldown({ input: program, platform, logLevel: 'silent' });
    const { output } = await bundler.generate({ format: 'esm' });
    await bundler.close();
    const chunks = output.filter((file) => file.type === 'chunk');
    const own = new Set(chunks.map((chunk) => chunk.fileName));
    const imports = chunks.flatMap((chunk) => [...chunk.imports, ...chunk.dynamicImports]).filter((id) => !own.has(id));
    const packages = chunks
      .flatMap((chunk) => chunk.moduleIds)
      .flatMap((id) => /node_modules[\\/]((?:@[\w-]+[\\/])?[\w-]+)/.exec(id)?.[1] ?? []);
    return { imports: [...new Set(imports)].sort(), packages: [...new Set(packages)].sort() };
  }

  test('for a browser, it has nothing of Node in it', async () => {
    const { imports, packages } = await bundle('browser');
    expect(imports).toEqual([]);
    expect(packages).toEqual([]);
  });

  test('for Node, the same program reaches for Dawn', async () => {
    const { imports, packages } = await bundle('node');
    expect(imports.filter((id) => id.startsWith('node:'))).not.toEqual([]);
    expect([...imports, ...packages]).toContain('webgpu');
  });
});

test("the benchmark's cases bundle for a browser", async () => {
  const program = `${root}/bench/program.ts`;
  const bundler = await Rolldown.rolldown({
    input: program,
    platform: 'browser',
    logLevel: 'silent',
    external: ['#platform'],
    plugins: [
      {
        name: 'program',
        resolveId: (id) => (id === program ? id : undefined),
        load: (id) => (id === program ? `export * from './run.ts'; export * from './cases.ts';` : undefined),
      },
      wgslPlugin(),
    ],
  });
  const { output } = await bundler.generate({ format: 'esm' });
  await bundler.close();
  expect(output.flatMap((chunk) => (chunk.type === 'chunk' ? chunk.imports : []))).toEqual(['#platform']);
});
