import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSafetensors } from '../../src/io/safetensors.ts';
import { ArgumentError, LoadError } from '../../src/index.ts';
import { readHuggingFaceLlama, readHuggingFaceTokenizer, readLlama2c, readLlama2cTokenizer } from '../../src/models.ts';
import { IS_MATRIX } from '../matrix/narrow.ts';
import { llama2cFile, safetensorsFile, TINY, tinyConfig, tinyWeights } from './tiny-llama.ts';
import {
  byteLevelTokenizer,
  digitsTokenizer,
  llama2cTokenizerFile,
  metaspaceTokenizer,
  sentencePieceTokenizer,
} from './tokenizer-files.ts';

const RUNS = { seed: 12, numRuns: IS_MATRIX ? 5000 : 150 };
const SIZES = { ...TINY, dim: 32 };
const WEIGHTS = tinyWeights(SIZES, 1);

/** What a file of JSON can hold that a reader does not expect. */
const HOSTILE: readonly unknown[] = [
  null,
  true,
  '',
  'a',
  '__proto__',
  'constructor',
  '\ud800',
  '(a+)+$',
  'x'.repeat(1e5),
  0,
  -0,
  -1,
  0.5,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
  1e308,
  [],
  {},
  [[[[[[]]]]]],
  Array(1000).fill(0),
  { __proto__: null, toString: 1, valueOf: {}, constructor: null },
  JSON.parse('{"__proto__": {"type": "BPE", "length": 4294967295}}'),
];

/** Texts in place of a value, because `JSON.stringify` does not write such values. */
const DEEP: readonly string[] = [
  `${'['.repeat(2e5)}${']'.repeat(2e5)}`,
  `${'{"type":"Sequence","normalizers":['.repeat(1e5)}${']}'.repeat(1e5)}`,
  '1e999',
  '-1e999',
  '123456789012345678901234567890',
];
const MARK = '@@deep@@';

interface Change {
  /** Chooses the value that is changed. */
  readonly place: number;
  readonly kind: 'replace' | 'remove' | 'rename' | 'repeat' | 'swap' | 'deepen';
  readonly value: unknown;
  /** Chooses the text that `deepen` writes. */
  readonly deep: number;
  readonly other: number;
}

const changes: fc.Arbitrary<Change[]> = fc.array(
  fc.record({
    place: fc.nat(),
    kind: fc.constantFrom('replace', 'remove', 'rename', 'repeat', 'swap', 'deepen'),
    value: fc.constantFrom(...HOSTILE),
    deep: fc.nat(DEEP.length - 1),
    other: fc.nat(),
  }),
  { minLength: 1, maxLength: 3 },
);

const NAMES = ['__proto__', 'constructor', 'toString', '', 'type', 'id', '\u001b[2J', 'x'.repeat(1e5)];

type Holder = Record<string, unknown>;

/** All places of a value: which object or list, and which of its names. Long lists count as their first few. */
function placesIn(value: unknown): [Holder, string][] {
  if (typeof value !== 'object' || value === null) return [];
  const names = Object.keys(value).slice(0, 12);
  return names.flatMap((name) => [[value as Holder, name], ...placesIn((value as Holder)[name])] as [Holder, string][]);
}

function mutateJson(text: string, list: readonly Change[]): string {
  const root: Holder = { root: JSON.parse(text) };
  let deep = '';
  for (const change of list) {
    const places = placesIn(root);
    const [holder, name] = places[change.place % places.length] ?? [root, 'root'];
    switch (change.kind) {
      case 'replace':
        holder[name] = structuredClone(change.value); // a later change may be within it
        break;
      case 'remove':
        if (Array.isArray(holder)) holder.splice(Number(name), 1);
        else delete holder[name];
        break;
      case 'rename':
        if (Array.isArray(holder)) break; // JSON's lists have no names
        Object.defineProperty(holder, NAMES[change.other % NAMES.length], {
          value: holder[name],
          enumerable: true,
          configurable: true,
          writable: true,
        });
        break;
      case 'repeat': {
        // not a large part, because repetitions may be repeated
        const item = holder[name];
        if ((JSON.stringify(item) ?? '').length < 300) holder[name] = Array.from({ length: 300 }, () => item);
        break;
      }
      case 'swap': {
        const [from, other] = places[change.other % places.length] ?? [root, 'root'];
        holder[name] = JSON.parse(JSON.stringify(from[other]) ?? 'null');
        break;
      }
      case 'deepen':
        holder[name] = MARK;
        deep = DEEP[change.deep];
    }
  }
  return (JSON.stringify(root['root']) ?? '').replace(`"${MARK}"`, () => deep);
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

interface ByteChange {
  readonly at: number;
  readonly kind: 'set' | 'cut' | 'insert' | 'word';
  readonly value: number;
}

/** Most changes are near the beginning, where sizes and lengths lie. */
const byteChanges: fc.Arbitrary<ByteChange[]> = fc.array(
  fc.record({
    at: fc.oneof(fc.nat(64), fc.nat()),
    kind: fc.constantFrom('set', 'cut', 'insert', 'word'),
    value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1), fc.nat(2 ** 32 - 1)),
  }),
  { minLength: 1, maxLength: 4 },
);

function mutateBytes(file: Uint8Array, list: readonly ByteChange[]): Uint8Array {
  let bytes = file.slice();
  for (const { at: place, kind, value } of list) {
    const at = place % (bytes.length + 1);
    if (kind === 'cut') bytes = bytes.slice(0, at);
    else if (kind === 'insert') bytes = Uint8Array.of(...bytes.slice(0, at), value & 255, ...bytes.slice(at));
    else if (kind === 'word' && at + 4 <= bytes.length) new DataView(bytes.buffer).setUint32(at, value, true);
    else if (at < bytes.length) bytes[at] = value & 255;
  }
  return bytes;
}

/** A result, or a LoadError whose message is one short line. */
function expectResultOrLoadError(read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(LoadError);
    expect((error as LoadError).message).toMatch(/^\w+: [^\p{Cc}]{1,800}$/u);
    return false;
  }
}

/** Reads a tokenizer, and encodes and decodes with it. */
function readAndUse(json: string): void {
  const tokenizer = readHuggingFaceTokenizer(json);
  const tokens = tokenizer.encode(
    '<s>Hello  the\n\n café 日 😀 123 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab<|end|> \ud800',
  );
  tokenizer.decode([...tokens, -1, 2 ** 32, 0.5]);
}

describe('a changed file gives a result or a LoadError:', () => {
  test.each<[string, string]>([
    ['byte-level', byteLevelTokenizer()],
    ['single digits', digitsTokenizer()],
    ["SentencePiece's", sentencePieceTokenizer()],
    ['Metaspace', metaspaceTokenizer()],
  ])('tokenizer.json, %s', (_name, json) => {
    let refused = 0;
    fc.assert(
      fc.property(changes, (list) => {
        const changed = mutateJson(json, list);
        if (!expectResultOrLoadError(() => readAndUse(changed))) refused++;
      }),
      RUNS,
    );
    expect(refused).toBeGreaterThan(RUNS.numRuns / 10);
  });

  test('tokenizer.json and config.json with changed characters', () => {
    const weights = safetensorsFile(WEIGHTS, 'BF16');
    for (const [text, read] of [
      [metaspaceTokenizer(), readAndUse],
      [tinyConfig(SIZES), (json: string) => readHuggingFaceLlama(json, [weights])],
    ] as const) {
      fc.assert(
        fc.property(byteChanges, (list) => {
          const changed = new TextDecoder().decode(mutateBytes(bytesOf(text), list));
          expectResultOrLoadError(() => read(changed));
        }),
        RUNS,
      );
    }
  });

  test('config.json', () => {
    const weights = safetensorsFile(WEIGHTS, 'BF16');
    const scaling = { rope_scaling: { rope_type: 'yarn', factor: 2, original_max_position_embeddings: 16 } };
    for (const json of [tinyConfig(SIZES), tinyConfig(SIZES, scaling)]) {
      fc.assert(
        fc.property(changes, (list) => {
          const changed = mutateJson(json, list);
          expectResultOrLoadError(() => readHuggingFaceLlama(changed, [weights]));
        }),
        RUNS,
      );
    }
  });

  test("a safetensors' header", () => {
    const file = safetensorsFile(WEIGHTS, 'BF16');
    const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
    const header = new TextDecoder().decode(file.subarray(8, 8 + length));
    const config = tinyConfig(SIZES);
    fc.assert(
      fc.property(changes, (list) => {
        const text = bytesOf(mutateJson(header, list));
        const bytes = new Uint8Array(file.length - length + text.length);
        new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
        bytes.set(text, 8);
        bytes.set(file.subarray(8 + length), 8 + text.length);
        expectResultOrLoadError(() => parseSafetensors(bytes));
        expectResultOrLoadError(() => readHuggingFaceLlama(config, [bytes]));
      }),
      RUNS,
    );
  });

  test.each<[string, Uint8Array, (file: Uint8Array) => unknown]>([
    ['safetensors', safetensorsFile(WEIGHTS, 'BF16'), parseSafetensors],
    ["llama2.c's checkpoint", llama2cFile(SIZES, WEIGHTS), readLlama2c],
    [
      "llama2.c's tokenizer",
      llama2cTokenizerFile([' ', 'a', 'b', 'ab']),
      (file) => {
        const tokenizer = readLlama2cTokenizer(file);
        tokenizer.decode(tokenizer.encode('ab é ba'));
      },
    ],
  ])('%s with changed bytes', (_name, file, read) => {
    fc.assert(
      fc.property(byteChanges, (list) => {
        const changed = mutateBytes(file, list);
        expectResultOrLoadError(() => read(changed));
      }),
      RUNS,
    );
  });
});

const detached = new ArrayBuffer(64);
structuredClone(detached, { transfer: [detached] });

/** Arguments of other types, which are the caller's mistake rather than the file's. */
describe.each<[string, unknown]>([
  ['undefined', undefined],
  ['null', null],
  ['a number', 5],
  ['a bigint', 10n ** 200n],
  ['a symbol', Symbol('file')],
  ['a function', () => 'file'],
  ['an object without prototype', Object.create(null)],
  ['a forged array', Object.create(Uint8Array.prototype)],
  ['a Float32Array', new Float32Array(16)],
  ['a DataView', new DataView(new ArrayBuffer(64))],
  ['shared memory itself', new SharedArrayBuffer(64)],
  ['a long list', Array(1e6).fill('x'.repeat(1000))],
])('%s in place of a file', (_name, value) => {
  test.each<[string, (value: never) => unknown]>([
    ['parseSafetensors', parseSafetensors],
    ['readLlama2c', readLlama2c],
    ['readLlama2cTokenizer', readLlama2cTokenizer],
    ['readHuggingFaceTokenizer', readHuggingFaceTokenizer],
    ['readHuggingFaceLlama (config)', (config) => readHuggingFaceLlama(config, [])],
    ['readHuggingFaceLlama (file)', (file) => readHuggingFaceLlama(tinyConfig(SIZES), [file])],
    ['readHuggingFaceLlama (files)', (files) => readHuggingFaceLlama(tinyConfig(SIZES), files)],
  ])('%s refuses it in one short sentence', (_reader, read) => {
    expect(() => read(value as never)).toThrow(ArgumentError);
    expect(() => read(value as never)).toThrow(/^\w+: [^\p{Cc}]{1,300}$/u);
  });
});

test('bytes may come as an ArrayBuffer, in shared memory, or from a buffer that was transferred', () => {
  const checkpoint = llama2cFile(SIZES, WEIGHTS);
  const tokenizer = llama2cTokenizerFile([' ', 'a']);
  const tensors = safetensorsFile(WEIGHTS, 'BF16');
  for (const [file, read] of [
    [checkpoint, readLlama2c],
    [tokenizer, readLlama2cTokenizer],
    [tensors, parseSafetensors],
    [tensors, (bytes: Uint8Array) => readHuggingFaceLlama(tinyConfig(SIZES), [bytes])],
  ] as const) {
    const shared = new Uint8Array(new SharedArrayBuffer(file.length));
    shared.set(file);
    const [fromShared, fromBuffer] = [shared, file.slice().buffer as unknown as Uint8Array].map((bytes) => read(bytes));
    expect(Object.keys(fromShared)).toEqual(Object.keys(fromBuffer));
    expect(() => read(detached as unknown as Uint8Array)).toThrow(LoadError);
  }
});

test('50,000 unexpected weights with long names are one short sentence', () => {
  const header = Object.fromEntries(
    Array.from({ length: 50_000 }, (_, i) => [
      `unexpected.${'x'.repeat(100)}.${i}`,
      { dtype: 'F32', shape: [1], data_offsets: [4 * i, 4 * i + 4] },
    ]),
  );
  const text = bytesOf(JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + 200_000);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  expect(Object.keys(parseSafetensors(file).tensors)).toHaveLength(50_000);
  const read = (): unknown => readHuggingFaceLlama(tinyConfig(SIZES), [safetensorsFile(WEIGHTS, 'BF16'), file]);
  expect(read).toThrow(/^readHuggingFaceLlama: [^\p{Cc}]{1,600}'unexpected\.x+…' is unexpected; and 49996 more$/u);
});
