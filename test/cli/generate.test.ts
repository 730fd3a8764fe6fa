import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { runCommandLine } from '../../src/cli/commands.ts';
import { prepareGenerate, type GenerateWords } from '../../src/cli/generate.ts';
import { readHuggingFaceTokenizer, readLlama2cTokenizer } from '../../src/models.ts';
import { testDevice } from '../device.ts';
import { describeStories } from '../models/shared-models.ts';
import { llama2cFile, safetensorsFile, TINY, tinyConfig, tinyReference, tinyWeights } from '../models/tiny-llama.ts';
import { byteLevelTokenizer, llama2cTokenizerFile } from '../models/tokenizer-files.ts';
import { referenceGreedy } from '../reference/llama.ts';
import { packageRoot } from './example.ts';

const device = await testDevice();

const TOKENIZER = llama2cTokenizerFile([' ', 'a', 'b', 'c', 'ab', ' a', ' ab', 'bc', 'e', 'f', 'g']);
const SIZES = { ...TINY, dim: 32, vocab: 270 };
const WEIGHTS = tinyWeights(SIZES, 2);
const MODEL = llama2cFile(SIZES, WEIGHTS);
const JSON_SIZES = { ...TINY, vocab: 280 };
const JSON_WEIGHTS = tinyWeights(JSON_SIZES, 3);

let folder: string;
const path = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'webgpu-attention-'));
  writeFileSync(path('model.bin'), MODEL);
  writeFileSync(path('cut.bin'), MODEL.subarray(0, 5000));
  writeFileSync(path('tokenizer.bin'), TOKENIZER);
  writeFileSync(path('other.bin'), llama2cTokenizerFile([' ', 'a']));
  for (const name of ['whole', 'shards', 'lost']) {
    mkdirSync(path(name));
    writeFileSync(path(`${name}/config.json`), tinyConfig(JSON_SIZES, { bos_token_id: 270, eos_token_id: 271 }));
    writeFileSync(path(`${name}/tokenizer.json`), byteLevelTokenizer());
  }
  writeFileSync(path('whole/model.safetensors'), safetensorsFile(JSON_WEIGHTS, 'BF16'));
  const entries = Object.entries(JSON_WEIGHTS);
  const shards = [entries.slice(0, 9), entries.slice(9)];
  const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const index = shards.flatMap((shard, i) => shard.map(([name]) => [name, names[i]]));
  shards.forEach((shard, i) => {
    writeFileSync(path(`shards/${names[i]}`), safetensorsFile(Object.fromEntries(shard), 'F16'));
  });
  writeFileSync(path('shards/model.safetensors.index.json'), JSON.stringify({ weight_map: Object.fromEntries(index) }));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

/** The command on the tests' device: what it writes, and its lines about it. */
async function run(words: GenerateWords): Promise<{ text: string; notes: string[] }> {
  let text = '';
  const notes: string[] = [];
  const terminal = { write: (piece: string) => void (text += piece), note: (line: string) => void notes.push(line) };
  await (
    await prepareGenerate(words, terminal)
  )(device);
  return { text, notes };
}

/** A command line, which opens a device of its own if it comes so far: exit code, stdout, stderr. */
async function runLine(...args: string[]): Promise<[code: number, text: string, errors: string]> {
  let text = '';
  const errors: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((piece) => {
    text += String(piece);
    return true;
  });
  vi.spyOn(console, 'error').mockImplementation((...parts) => void errors.push(parts.join(' ')));
  const code = await runCommandLine(['node', 'webgpu-attention', 'generate', ...args], packageRoot);
  vi.restoreAllMocks();
  return [code, text, errors.join('\n')];
}

const llama2c = (): GenerateWords => ({ model: path('model.bin'), tokenizer: path('tokenizer.bin'), temperature: '0' });

describe('generate', () => {
  const tokenizer = readLlama2cTokenizer(TOKENIZER);
  const reference = tinyReference(SIZES, WEIGHTS, { interleaved: true });

  /** The likeliest text, up to where a token ends it. */
  const likeliest = (prompt: readonly number[], count: number): { text: string; isWhole: boolean } => {
    const { tokens } = referenceGreedy(reference, prompt, count);
    const end = tokens.findIndex((token) => token === 1 || token === 2);
    const text = tokenizer.decode([...prompt, ...tokens.slice(0, end < 0 ? count : end)]);
    return { text: `${text}\n`, isWhole: end >= 0 };
  };

  test.each([undefined, '', 'abc', ' a 日'])('goes on from %j as the reference does', async (prompt) => {
    const { text, notes } = await run({ ...llama2c(), prompt, tokens: '9' });
    const wanted = likeliest(tokenizer.encode(prompt ?? ''), 9);
    expect(text).toBe(wanted.text);
    expect(text.startsWith(prompt ?? '')).toBe(true);
    expect(notes[0]).toMatch(/^Device: \S/);
    expect(notes[1]).toBe(
      'Model: Llama with 2 layers of 32, 4 heads, 2 key heads, 270 tokens, 32 positions, in float32; ' +
        'keys and values in float32',
    );
    expect(notes[2]).toMatch(/^Kernels compiled in \d+\.\d\d s$/);
    expect(notes[3]).toMatch(/^Prefill: \d+ tokens? in \d+\.\d\d s, [\d.]+ tokens\/s$/);
    expect(notes[4]).toMatch(/^Decode: \d+ tokens? in \d+\.\d\d s, [\d.]+ tokens\/s$/);
    expect(notes[5]).toBe(wanted.isWhole ? 'The text ended by itself.' : 'The text was cut off by its length.');
    expect(notes).toHaveLength(6);
  });

  test('drafts from the text change nothing of it', async () => {
    const options = { ...llama2c(), tokens: '12', temperature: '0' };
    const plain = await run(options);
    const { text, notes } = await run({ ...options, lookup: true });
    expect(text).toBe(plain.text);
    expect(notes.join()).toMatch(/Drafts: \d+ of \d+ accepted, \d\.\d\d tokens a step/);
    expect(plain.notes.join()).not.toContain('Drafts');
  });

  test('passes on how it is to be computed', async () => {
    const { text, notes } = await run({ ...llama2c(), tokens: '3', cacheDtype: 'float16', paged: true });
    expect(text).toBe(likeliest([1], 3).text);
    expect(notes[1]).toContain(', in float32; paged keys and values in float16');
    const half = await run({ ...llama2c(), tokens: '3', dtype: 'float16' });
    expect(half.notes[1]).toContain(', in float16; keys and values in float16');
    expect(half.text).toMatch(/\n$/);
  });

  test('writes the same text for the same seed, which it reports', async () => {
    const words = { ...llama2c(), temperature: '1.5', tokens: '12' };
    const first = await run(words);
    const seed = /^Seed: (\d+)$/.exec(first.notes.at(-1)!)![1];
    expect((await run({ ...words, seed })).text).toBe(first.text);
    expect((await run({ ...words, seed: String(Number(seed) + 1) })).text).not.toBe(first.text);
  });

  test("reads Hugging Face's folders, shards and single files, and finds the tokenizer", async () => {
    const wanted = referenceGreedy(tinyReference(JSON_SIZES, JSON_WEIGHTS), [270, 261], 6).tokens;
    const end = wanted.indexOf(271);
    const tokens = [270, 261, ...wanted.slice(0, end < 0 ? 6 : end)];
    const text = `${readHuggingFaceTokenizer(byteLevelTokenizer()).decode(tokens)}\n`;
    const more = { prompt: 'hello', temperature: '0', tokens: '6' };
    expect(text).toMatch(/^hello/);
    for (const model of ['whole', 'shards', 'whole/model.safetensors']) {
      expect((await run({ ...more, model: path(model) })).text).toBe(text);
    }
    expect((await run({ ...more, model: path('whole'), tokenizer: path('shards') })).text).toBe(text);
  });

  test('treats a prompt as text, whatever it looks like; text goes to stdout, the rest to stderr', async () => {
    const files = ['--model', path('model.bin'), '--tokenizer', path('tokenizer.bin')];
    const [code, text, errors] = await runLine(...files, '--prompt', '007', '--temperature', '0', '--tokens', '2');
    expect(code).toBe(0);
    expect(text).toBe(likeliest(tokenizer.encode('007'), 2).text);
    expect(errors).toMatch(/^Device: .*\nModel: .*\nKernels .*\nPrefill: .*\nDecode: .*\nThe text .*$/s);
  });
});

describe('a mistake is one sentence and exit code 1', () => {
  const files = (model = 'model.bin', tokenizer = 'tokenizer.bin'): string[] =>
    ['--model', path(model)].concat('--tokenizer', path(tokenizer));

  test.each<[string, () => string[], string]>([
    ['no model', () => [], 'generate: --model must name a file or folder, got nothing'],
    ['no tokenizer', () => ['--model', path('model.bin')], "generate: --tokenizer must name the model's tokenizer.bin"],
    ['no such model', () => files('none.bin'), 'none.bin'],
    ['no such tokenizer', () => files('model.bin', 'none.bin'), 'none.bin'],
    ['a model cut off', () => files('cut.bin'), 'got 5000 bytes, so it is cut off'],
    ['no model, but another file', () => files('tokenizer.bin'), 'readLlama2c: file must begin with plausible sizes'],
    ["another model's tokenizer", () => files('model.bin', 'other.bin'), "must hold the model's 270 tokens, got 261"],
    ['no tokenizer, but the model', () => files('model.bin', 'model.bin'), 'readLlama2cTokenizer: file of '],
    ['a folder without a model', () => ['--model', folder], 'config.json'],
    ['no number', () => [...files(), '--tokens', 'many'], "--tokens must be a whole number of 1 or more, got 'many'"],
    ['no tokens', () => [...files(), '--tokens', '0'], "--tokens must be a whole number of 1 or more, got '0'"],
    ['half a seed', () => [...files(), '--seed', '0.5'], "--seed must be a whole number of 0 or more, got '0.5'"],
    ['a cold text', () => [...files(), '--temperature=-1'], "--temperature must be a number of 0 or more, got '-1'"],
    ['another dtype', () => [...files(), '--dtype', 'f16'], "--dtype must be float32 or float16, got 'f16'"],
    ['another cache', () => [...files(), '--cache-dtype', '8'], "--cache-dtype must be float32 or float16, got '8'"],
    ['too long a prompt', () => [...files(), '--prompt', 'x'.repeat(40)], "at most the model's 32 tokens, got 42"],
    ['an option twice', () => [...files(), '--seed', '1', '--seed', '2'], '--seed must be given once, got 1 and 2'],
    ['no prompt', () => [...files(), '--prompt'], 'option `--prompt <text>` value is missing'],
    ['no prompt but an option', () => [...files(), '--prompt', '--paged'], '`--prompt <text>` value is missing'],
    ['an unknown option', () => [...files(), '--topp', '0.9'], 'Unknown option `--topp`'],
    ['another word', () => [...files(), 'now'], 'Unused args: `now`'],
    ['an unknown adapter', () => [...files(), '--adapter', 'cuda'], "adapter must be one of 'hardware'"],
  ])('%s', async (_name, args, message) => {
    const [code, text, errors] = await runLine(...args());
    expect(code).toBe(1);
    expect(text).toBe('');
    expect(errors).toContain(message);
    expect(errors).toMatch(/^\S*error:\S* [^\n]+$/);
  });
});

test.each([
  ['the folder above', '..'],
  ['this folder', '.'],
  ['a file above', '../shards/model-00001-of-00002.safetensors'],
  ['a folder inside', 'inside/model.safetensors'],
  ['a backslash', 'inside\\model.safetensors'],
  ['a drive', 'C:model.safetensors'],
  ['no name', '.safetensors'],
  ['an end of the name', 'model.safetensors\0'],
  ['another kind of file', 'config.json'],
  ['no text', 5],
])('generate refuses an index that names %s', async (_name, shard) => {
  const index = { weight_map: { a: 'model.safetensors', b: shard } };
  writeFileSync(path('lost/model.safetensors.index.json'), JSON.stringify(index));
  const [code, text, errors] = await runLine('--model', path('lost'));
  expect([code, text]).toEqual([1, '']);
  expect(errors).toContain('model.safetensors.index.json must map weights to names of .safetensors in its folder');
  expect(errors).toMatch(/^\S*error:\S* [^\n]+$/);
});

describeStories('generate', ({ modelPath, tokenizerPath }) => {
  test('tells the story from the begin token, and from its beginning', async () => {
    const words = { model: modelPath, tokenizer: tokenizerPath, temperature: '0', tokens: '30' };
    const story = 'Once upon a time, there was a little girl named Lily. She loved to play outside';
    expect((await run(words)).text.slice(0, story.length)).toBe(story);
    const prompt = 'Once upon a time, there was';
    expect((await run({ ...words, prompt })).text.slice(0, story.length)).toBe(story);
  });
});
