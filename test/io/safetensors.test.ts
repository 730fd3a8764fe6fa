import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ArgumentError, LoadError, OutOfMemoryError } from '../../src/gpu/errors.ts';
import { loadSafetensors, parseSafetensors, readSafetensorsHeader, saveSafetensors } from '../../src/io/safetensors.ts';
import { createDevice, type Device } from '../../src/index.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';

/** A file of `header`, text or a value to serialise, and a payload of that many zero bytes. */
function file(header: unknown, payloadBytes = 0): Uint8Array {
  const text = typeof header === 'string' ? header : JSON.stringify(header);
  return rawFile(new TextEncoder().encode(text), payloadBytes);
}

function rawFile(header: Uint8Array, payloadBytes = 0, headerLength = BigInt(header.length)): Uint8Array {
  const bytes = new Uint8Array(8 + header.length + payloadBytes);
  new DataView(bytes.buffer).setBigUint64(0, headerLength, true);
  bytes.set(header, 8);
  return bytes;
}

const f32 = (begin: number, end: number, shape = [(end - begin) / 4]) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('parseSafetensors', () => {
  test('reads metadata, shapes, dtypes and views of the payload', () => {
    const bytes = file(
      {
        __metadata__: { made: 'here' },
        pair: { dtype: 'U32', shape: [1, 2], data_offsets: [0, 8] },
        flags: { dtype: 'BOOL', shape: [3], data_offsets: [10, 13] },
        half: { dtype: 'F16', shape: [], data_offsets: [8, 10] },
        none: { dtype: 'I32', shape: [4, 0], data_offsets: [13, 13] },
      },
      13,
    );
    bytes.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], bytes.length - 13);
    const { metadata, tensors } = parseSafetensors(bytes);
    expect({ ...metadata }).toEqual({ made: 'here' });
    expect(Object.keys(tensors)).toEqual(['pair', 'flags', 'half', 'none']);
    expect(tensors['pair']).toEqual({ dtype: 'U32', shape: [1, 2], data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) });
    expect(tensors['flags']).toEqual({ dtype: 'BOOL', shape: [3], data: Uint8Array.of(11, 12, 13) });
    expect(tensors['half']).toEqual({ dtype: 'F16', shape: [], data: Uint8Array.of(9, 10) });
    expect(tensors['none']).toEqual({ dtype: 'I32', shape: [4, 0], data: new Uint8Array(0) });
    expect(tensors['pair'].data.buffer).toBe(bytes.buffer);
  });

  test('reads an ArrayBuffer, a Buffer, and a view in the middle of a larger one', () => {
    const bytes = file({ a: f32(0, 4) }, 4);
    bytes.set([0, 0, 0x80, 0x3f], bytes.length - 4);
    const shifted = new Uint8Array(bytes.length + 3).subarray(1, 1 + bytes.length);
    shifted.set(bytes);
    for (const source of [bytes, bytes.buffer as ArrayBuffer, shifted, Buffer.from(bytes)]) {
      expect(parseSafetensors(source).tensors['a'].data).toEqual(Uint8Array.of(0, 0, 0x80, 0x3f));
    }
  });

  test('takes an empty file, and padding after the header', () => {
    expect(Object.keys(parseSafetensors(file('{}')).tensors)).toEqual([]);
    expect(Object.keys(parseSafetensors(file('{}      ')).tensors)).toEqual([]);
  });

  test('takes names that JavaScript objects have already', () => {
    const text = JSON.stringify({ constructor: f32(0, 4), toString: f32(4, 8) }).replace('toString', '__proto__');
    const { tensors } = parseSafetensors(file(text, 8));
    expect(Object.keys(tensors)).toEqual(['constructor', '__proto__']);
    expect(tensors['__proto__'].shape).toEqual([1]);
    expect(tensors['valueOf']).toBeUndefined();
    expect(({} as Record<string, unknown>)['shape']).toBeUndefined();
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(0), /file must hold an 8-byte header length, got 0 bytes/],
    ['7 bytes', new Uint8Array(7), /got 7 bytes/],
    ['no header', rawFile(new Uint8Array(0)), /header must start with "\{", got nothing/],
    [
      'a header longer than the file',
      rawFile(new Uint8Array(4), 0, 100n),
      /must end within the file, got a file of 12 b/,
    ],
    ['a header of 101 MB', rawFile(new Uint8Array(4), 0, 101_000_000n), /at most 100000000 bytes, got 101000000/],
    ['a header of 2⁶⁴ − 1 bytes', rawFile(new Uint8Array(4), 0, 2n ** 64n - 1n), /got 18446744073709551615/],
    ['an array', file('[1]'), /header must start with "\{", got byte 91/],
    ['leading space', file(' {}'), /got byte 32/],
    ['a byte order mark', file('\ufeff{}'), /got byte 239/],
    ['bad UTF-8', rawFile(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d)), /header must be UTF-8/],
    ['bad JSON', file('{"a":}'), /header must be JSON/],
    ['two objects', file('{}{}'), /header must be JSON/],
    ['NUL padding', file('{}\0\0'), /header must be JSON/],
    ['a name twice', file(`{"a":${JSON.stringify(f32(0, 4))},"a":${JSON.stringify(f32(0, 4))}}`, 4), /"a" twice/],
    ['a name twice, once escaped', file(`{"a":${JSON.stringify(f32(0, 4))},"\\u0061":{}}`, 4), /"a" twice/],
    ['a field twice', file('{"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}', 4), /"dtype" twice/],
    [
      'metadata that is a list',
      file({ __metadata__: ['x'] }),
      /__metadata__ must be an object of strings, got an array/,
    ],
    ['metadata that is a number', file({ __metadata__: { n: 1 } }), /__metadata__ "n" must be a string, got 1/],
    [
      '64 nested lists',
      file(`{"a":${'['.repeat(64)}${']'.repeat(64)}}`),
      /header must nest at most 64 levels, got more/,
    ],
    ['a tensor that is null', file({ a: null }), /tensor "a" must be described by an object, got null/],
    ['no dtype', file({ a: { shape: [1], data_offsets: [0, 4] } }, 4), /tensor "a" must have a dtype, got undefined/],
    ['a dtype that is no text', file({ a: { ...f32(0, 4), dtype: 4 } }, 4), /"a" must have a dtype, got 4/],
    ['no shape', file({ a: { dtype: 'F32', data_offsets: [0, 4] } }, 4), /"a" must have a shape of .* got undefined/],
    ['a negative length', file({ a: f32(0, 4, [-1]) }, 4), /non-negative integers, got \[-1\]/],
    ['a fractional length', file({ a: f32(0, 4, [0.5, 2]) }, 4), /non-negative integers, got \[0.5, 2\]/],
    [
      'no offsets',
      file({ a: { dtype: 'F32', shape: [1] } }, 4),
      /two non-negative integer data_offsets, got undefined/,
    ],
    ['one offset', file({ a: { ...f32(0, 4), data_offsets: [0] } }, 4), /data_offsets, got \[0\]/],
    ['a fractional offset', file({ a: { ...f32(0, 4), data_offsets: [0, 4.5] } }, 5), /data_offsets, got \[0, 4.5\]/],
    ['a negative offset', file({ a: { ...f32(0, 4), data_offsets: [-4, 0] } }, 4), /data_offsets, got \[-4, 0\]/],
    ['a textual offset', file({ a: { ...f32(0, 4), data_offsets: ['0', 4] } }, 4), /data_offsets, got an array/],
    [
      'an object with a constructor',
      file({ a: f32(0, 4, { constructor: { name: {} } } as never) }, 4),
      /a shape of non-negative integers, got an object/,
    ],
    ['an unsafe offset', file({ a: { ...f32(0, 4), data_offsets: [0, 2 ** 53] } }, 4), /data_offsets, got/],
    ['offsets out of order', file({ a: f32(4, 0, [1]) }, 4), /within the payload of 4 bytes, got data_offsets 4 to 0/],
    ['offsets past the end', file({ a: f32(0, 8) }, 4), /within the payload of 4 bytes, got data_offsets 0 to 8/],
    ['too few bytes', file({ a: f32(0, 4, [2]) }, 4), /must have 8 bytes for F32 and shape \[2\], got 4/],
    ['too many bytes', file({ a: f32(0, 8, [1]) }, 8), /must have 4 bytes for F32 and shape \[1\], got 8/],
    ['a shape that overflows', file({ a: f32(0, 0, [2 ** 32, 2 ** 32]) }), /must have 73786976294838210000 bytes/],
    ['a shape of 2¹⁰²⁴ and 0', file({ a: f32(0, 0, [...Array<number>(32).fill(2 ** 50), 0]) }), /must have NaN bytes/],
    ['an overlap', file({ a: f32(0, 8), b: f32(4, 12) }, 12), /"b" must begin at byte 8 where tensor "a" ends, got 4/],
    ['two names for the same bytes', file({ a: f32(0, 4), b: f32(0, 4) }, 4), /"b" must begin at byte 4/],
    ['a gap', file({ a: f32(0, 4), b: f32(8, 12) }, 12), /"b" must begin at byte 4 where tensor "a" ends, got 8/],
    ['a gap at the start', file({ a: f32(4, 8) }, 8), /"a" must begin at byte 0 where the start ends, got 4/],
    ['bytes left over', file({ a: f32(0, 4) }, 8), /payload must end at byte 4 where tensor "a" ends, got 8 bytes/],
    ['a payload without tensors', file('{}', 1), /payload must end at byte 0/],
  ])('refuses %s', (_name, bytes, message) => {
    expect(() => parseSafetensors(bytes)).toThrow(LoadError);
    expect(() => parseSafetensors(bytes)).toThrow(message);
    expect(() => parseSafetensors(bytes)).toThrow(/^loadSafetensors: [^\n]{1,300}$/);
  });

  test.each(['F8_E4M3', 'f32', 'toString'])('knows of dtype %s only that it is there', (dtype) => {
    const bytes = file({ w: { dtype, shape: [3], data_offsets: [0, 8] }, x: f32(8, 12, [1]) }, 12);
    expect(parseSafetensors(bytes).tensors['w']).toMatchObject({ dtype, shape: [3] });
    expect(readSafetensorsHeader(bytes)).toEqual({
      metadata: {},
      tensors: { w: { dtype, shape: [3] }, x: { dtype: 'F32', shape: [1] } },
    });
  });

  test('refuses what is not bytes', () => {
    expect(() => parseSafetensors('file.safetensors' as unknown as Uint8Array)).toThrow(
      'loadSafetensors: bytes must be a Uint8Array or an ArrayBuffer, got "file.safetensors"',
    );
  });

  test('keeps a hostile name short and on one line', () => {
    const name = `\u001b[2J\n${'x'.repeat(1e6)}`;
    expect(() => parseSafetensors(file({ [name]: 1 }))).toThrow(
      /^loadSafetensors: tensor "\\u001b\[2J\\nx{70,80}…" must/,
    );
  });

  test('survives every truncation and every changed byte of a good file', () => {
    const good = file({ __metadata__: { a: 'b' }, x: f32(0, 8), y: { ...f32(8, 10, [1]), dtype: 'F16' } }, 10);
    for (let length = 0; length < good.length; length++) {
      expect(() => parseSafetensors(good.subarray(0, length))).toThrow(LoadError);
    }
    for (let at = 0; at < good.length; at++) {
      for (const change of [0x01, 0x20, 0x80]) {
        const bad = good.slice();
        bad[at] ^= change;
        try {
          parseSafetensors(bad);
        } catch (error) {
          expect(error).toBeInstanceOf(LoadError);
        }
      }
    }
  });
});

describe('with a device', () => {
  let device: Device;
  beforeAll(async () => {
    device = await createDevice({ memoryBudget: 1 << 20 });
  });
  afterAll(() => device.dispose());

  const pythonFile = readFileSync(new URL('../fixtures/dtypes.safetensors', import.meta.url));
  /** What test/fixtures/generate.py wrote. */
  const pythonTensors = {
    float32: [1.5, -0, Infinity, 2 ** 128 - 2 ** 104, 2 ** -149, -2.25],
    float16: [1, -65504, 2 ** -14, 2 ** -24, Infinity],
    bool: [1, 0, 1],
    int32: [-(2 ** 31), 7],
    uint32: [2 ** 32 - 1, 7],
  };

  const valuesOf = async (tensor: Tensor) => Array.from(await tensor.data());
  const dispose = (tensors: Record<string, Tensor>) => Object.values(tensors).forEach((tensor) => tensor.dispose());

  test('loads what Python wrote', async () => {
    const tensors = await loadSafetensors(device, pythonFile);
    expect(Object.keys(tensors).sort()).toEqual(Object.keys(pythonTensors).sort());
    for (const [name, values] of Object.entries(pythonTensors)) {
      expect(tensors[name].dtype).toBe(name);
      expect(await valuesOf(tensors[name])).toEqual(values);
    }
    expect(tensors['float32'].shape).toEqual([2, 3]);
    expect(tensors['bool'].shape).toEqual([3, 1]);
    dispose(tensors);
    expect(device.memory().live).toBe(0);
  });

  test('saves aligned bytes that load again', async () => {
    const first = await loadSafetensors(device, pythonFile);
    const bytes = await saveSafetensors(first, { made: 'hier, ünïcode', __proto__x: '' });
    const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    expect(headerBytes % 8).toBe(0);
    const { metadata, tensors } = parseSafetensors(bytes);
    expect({ ...metadata }).toEqual({ made: 'hier, ünïcode', __proto__x: '' });
    for (const { dtype, data } of Object.values(tensors)) {
      expect(data.byteOffset % { F32: 4, I32: 4, U32: 4, F16: 2, BOOL: 1 }[dtype]!).toBe(0);
    }
    const again = await loadSafetensors(device, bytes);
    for (const [name, values] of Object.entries(pythonTensors)) {
      expect(again[name].dtype).toBe(name);
      expect(await valuesOf(again[name])).toEqual(values);
    }
    dispose(first);
    dispose(again);
  });

  test('loads tensors that are not aligned in the file, and any byte but 0 as true', async () => {
    const header = {
      flags: { dtype: 'BOOL', shape: [3], data_offsets: [0, 3] },
      one: { dtype: 'F32', shape: [1], data_offsets: [3, 7] },
    };
    const bytes = file(header, 7);
    bytes.set([0, 2, 255, 0, 0, 0x80, 0x3f], bytes.length - 7);
    const tensors = await loadSafetensors(device, Buffer.from(bytes));
    expect(await valuesOf(tensors['flags'])).toEqual([0, 1, 1]);
    expect(await valuesOf(tensors['one'])).toEqual([1]);
    dispose(tensors);
  });

  test('loads bfloat16 as the float32 of the same value', async () => {
    const header = {
      flag: { dtype: 'BOOL', shape: [1], data_offsets: [0, 1] },
      x: { dtype: 'BF16', shape: [2, 3], data_offsets: [1, 13] },
    };
    const bytes = file(header, 13);
    // 1, −2, the largest finite, the smallest subnormal, −0, −∞
    bytes.set([0, 0x80, 0x3f, 0, 0xc0, 0x7f, 0x7f, 1, 0, 0, 0x80, 0x80, 0xff], bytes.length - 13);
    const tensors = await loadSafetensors(device, bytes);
    expect(tensors['x'].dtype).toBe('float32');
    expect(tensors['x'].shape).toEqual([2, 3]);
    expect(await valuesOf(tensors['x'])).toEqual([1, -2, 2 ** 128 - 2 ** 120, 2 ** -133, -0, -Infinity]);
    dispose(tensors);
  });

  test('loads wider and narrower numbers as what holds their values', async () => {
    const made = file(
      {
        f64: { dtype: 'F64', shape: [2], data_offsets: [0, 16] },
        i64: { dtype: 'I64', shape: [2], data_offsets: [16, 32] },
        u64: { dtype: 'U64', shape: [1], data_offsets: [32, 40] },
        i16: { dtype: 'I16', shape: [1], data_offsets: [40, 42] },
        u16: { dtype: 'U16', shape: [1], data_offsets: [42, 44] },
        i8: { dtype: 'I8', shape: [1], data_offsets: [44, 45] },
        u8: { dtype: 'U8', shape: [3], data_offsets: [45, 48] },
        number: { dtype: 'F32', shape: [], data_offsets: [48, 52] },
      },
      52,
    );
    const view = new DataView(made.buffer, made.byteOffset + made.length - 52);
    view.setFloat64(0, 0.1, true);
    view.setFloat64(8, -1e300, true);
    view.setBigInt64(16, -(2n ** 31n), true);
    view.setBigInt64(24, 2n ** 31n - 1n, true);
    view.setBigUint64(32, 2n ** 32n - 1n, true);
    view.setInt16(40, -300, true);
    view.setUint16(42, 65535, true);
    view.setInt8(44, -7);
    view.setUint8(47, 255);
    view.setFloat32(48, 2.5, true);
    const tensors = await loadSafetensors(device, made);
    const values = await Promise.all(
      Object.entries(tensors).map(async ([name, x]) => [name, x.dtype, await valuesOf(x)] as const),
    );
    expect(values).toEqual([
      ['f64', 'float32', [Math.fround(0.1), -Infinity]],
      ['i64', 'int32', [-(2 ** 31), 2 ** 31 - 1]],
      ['u64', 'uint32', [2 ** 32 - 1]],
      ['i16', 'int32', [-300]],
      ['u16', 'uint32', [65535]],
      ['i8', 'int32', [-7]],
      ['u8', 'uint32', [0, 0, 255]],
      ['number', 'float32', [2.5]],
    ]);
    expect(tensors['number'].shape).toEqual([1]);
    dispose(tensors);
    view.setBigInt64(24, 2n ** 31n, true);
    await expect(loadSafetensors(device, made)).rejects.toThrow(
      'loadSafetensors: tensor "i64" must hold integers of 32 bits, got 2147483648',
    );
  });

  test('makes the tensors that are wanted, and says why others cannot be made', async () => {
    const bytes = file(
      {
        odd: { dtype: 'F4', shape: [3], data_offsets: [0, 2] },
        none: { dtype: 'F32', shape: [0], data_offsets: [2, 2] },
        a: f32(2, 6, [1]),
        b: f32(6, 10, [1]),
      },
      10,
    );
    const problems: [string, string][] = [];
    const all = await loadSafetensors(device, bytes, { onUnsupported: (...problem) => problems.push(problem) });
    expect(Object.keys(all)).toEqual(['a', 'b']);
    expect(problems).toEqual([
      ['odd', 'must have dtype F32, F16, BF16, F64, BOOL, I32, U32, I64, U64, I16, U16, I8, U8, got "F4"'],
      ['none', 'must have elements, got shape [0]'],
    ]);
    dispose(all);
    for (const only of [['b'], (name: string) => name === 'b']) {
      const some = await loadSafetensors(device, bytes, { only });
      expect(Object.keys(some)).toEqual(['b']);
      dispose(some);
    }
    const load = (options: object) => loadSafetensors(device, bytes, options);
    await expect(load({ only: ['c'] })).rejects.toThrow('file must hold the tensor "c" of only, got none');
    await expect(load({ only: 3 })).rejects.toThrow('only must be a list of names or a function, got 3');
    await expect(load({ onUnsupported: true })).rejects.toThrow('onUnsupported must be a function, got true');
  });

  test('saves a view as what it shows, and names that objects have already', async () => {
    const matrix = device.tensor([1, 2, 3, 4, 5, 6], [2, 3], { dtype: 'float16' });
    const view = matrix.transpose().slice(0, 1, 3);
    const bytes = await saveSafetensors(Object.fromEntries([['__proto__', view]]));
    const tensors = await loadSafetensors(device, bytes);
    expect(Object.keys(tensors)).toEqual(['__proto__']);
    expect(tensors['__proto__'].shape).toEqual([2, 2]);
    expect(await valuesOf(tensors['__proto__'])).toEqual([2, 5, 3, 6]);
    dispose({ matrix, view, ...tensors });
  });

  test('writes a file without tensors or metadata', async () => {
    const bytes = await saveSafetensors({});
    expect(new TextDecoder().decode(bytes.subarray(8))).toBe('{}      ');
    expect(Object.keys(await loadSafetensors(device, bytes))).toEqual([]);
  });

  test.each<[string, Uint8Array, typeof LoadError, RegExp]>([
    ['an empty tensor', file({ a: f32(0, 4), b: f32(4, 4, [0]) }, 4), LoadError, /tensor "b" must have elements/],
    ['more than the memory budget', file({ a: f32(0, 4), b: f32(4, 4 + 2 ** 21) }, 4 + 2 ** 21), OutOfMemoryError, /./],
    [
      'an unknown dtype at the end',
      file({ a: f32(0, 4), b: { dtype: 'F8_E4M3', shape: [4], data_offsets: [4, 8] } }, 8),
      LoadError,
      /^loadSafetensors: tensor "b" must have dtype F32, F16, .*, got "F8_E4M3"$/,
    ],
  ])('frees what it made when a file holds %s', async (_name, bytes, errorClass, message) => {
    const before = device.memory().live;
    const load = loadSafetensors(device, bytes);
    await expect(load).rejects.toThrow(errorClass);
    await expect(load).rejects.toThrow(message);
    expect(device.memory().live).toBe(before);
    const tensor = device.tensor([1, 2], [2]);
    expect(await valuesOf(tensor)).toEqual([1, 2]);
    tensor.dispose();
  });

  test('refuses to save what the format cannot hold', async () => {
    const tensor = device.tensor([1], [1]);
    await expect(saveSafetensors({ __metadata__: tensor })).rejects.toThrow(
      /^saveSafetensors: a tensor's name must not be/,
    );
    await expect(saveSafetensors({ a: [1] as unknown as Tensor })).rejects.toThrow(
      'saveSafetensors: "a" must be a Tensor, got [1]',
    );
    await expect(saveSafetensors({ tensor }, { n: 1 as unknown as string })).rejects.toThrow(
      'saveSafetensors: metadata "n" must be a string, got number',
    );
    tensor.dispose();
    await expect(saveSafetensors({ tensor })).rejects.toThrow(ArgumentError);
  });
});
