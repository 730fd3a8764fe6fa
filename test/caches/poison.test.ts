/** Rows of a cache that hold no token, and pages that none has any more, hold NaN. */
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  type AttentionResult,
  type CacheDType,
  type Device,
  KeyValueCache,
  PagedKeyValueCache,
  type Tensor,
} from '../../src/index.ts';
import { testDevice, triesEveryKernel } from '../device.ts';
import { narrow } from '../matrix/narrow.ts';
import { kernelsOf, pinKernel, skipTilesOnWideSubgroups } from '../ops/attention/pinned.ts';
import { expectCleanBuffers, expectSameBits, NAN_WORD, type Results } from '../ops/poison.ts';
import type { Float } from '../ops/upload.ts';
import { Random } from '../random.ts';

const device: Device = await testDevice();
const isBroad = await triesEveryKernel();
let liveBefore: number;
beforeAll(() => {
  liveBefore = device.memory().live;
});
afterEach(() => expect(device.memory().live).toBe(liveBefore));

const [HEADS, KV_HEADS, DIM, VALUE_DIM] = [4, 2, 7, 5];

/** Every row of the cache's storage holds the word. */
function fill({ keys, values }: { readonly keys: Tensor; readonly values: Tensor }, word: number): void {
  for (const { buffer } of [keys, values]) {
    device.gpu.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(word));
  }
}

async function read({ output, logSumExp }: AttentionResult): Promise<Results> {
  const results = { output: await output.data(), logSumExp: await logSumExp!.data() };
  output.dispose();
  logSumExp!.dispose();
  return results;
}

const OWN = 'its own choice';
const kernels = kernelsOf('flashAttention', device).filter((name) => !name.startsWith('matrix'));

describe.each(narrow([OWN], [OWN, ...kernels]))('%s', (kernel) => {
  if (kernel !== OWN) {
    pinKernel('flashAttention', kernel);
    skipTilesOnWideSubgroups(kernel.replace(/^(?:register|cache)/, 'tile'));
  }

  describe.each(
    narrow<CacheDType>(isBroad ? ['float32', 'float16', 'int8'] : ['float32', 'float16'], [
      'float32',
      'float16',
      'int8',
      'int4',
    ]),
  )('%s', (dtype) => {
    const inDType: Float = dtype === 'float16' ? 'float16' : 'float32';
    const random = new Random(1);
    const made = (...shape: number[]) => ({ shape, values: random.normals(shape) });
    const upload = ({ shape, values }: ReturnType<typeof made>) => device.tensor(values, shape, { dtype: inDType });
    const rows = (length: number) => [made(2, KV_HEADS, length, DIM), made(2, KV_HEADS, length, VALUE_DIM)];
    const queries = (length: number) => made(2, HEADS, length, DIM);

    const spoil = (word: number, { shape, values }: ReturnType<typeof made>) =>
      device.tensor(word === 0 ? values : values.map(() => NaN), shape, { dtype: inDType });

    test.each([
      ['fixed', {}],
      ['growing', { growth: 'double' }],
      ['sliding', { eviction: 'sliding', sinks: 2 }],
    ] as const)('a %s cache', async (_name, options) => {
      const steps = [rows(5), rows(9), rows(3)];
      const gone = rows(2);
      const q = [queries(1), queries(9)];
      const live = async (word: number) => {
        const results: Record<string, ArrayLike<number>> = {};
        using cache = new KeyValueCache(device, {
          batch: 2,
          numKvHeads: KV_HEADS,
          headDim: DIM,
          valueDim: VALUE_DIM,
          capacity: 'growth' in options ? 8 : 17,
          dtype,
          ...options,
        });
        fill(cache, word);
        for (const [at, step] of steps.entries()) {
          device.scope(() => cache.append(upload(step[0]), upload(step[1])));
          const { length } = cache;
          if (length + 2 <= cache.capacity) {
            device.scope(() => cache.append(spoil(word, gone[0]), spoil(word, gone[1])));
            cache.truncate(length);
          }
          for (const given of q.filter(({ shape }) => shape[2] <= cache.length)) {
            const found = await read(device.scope(() => cache.attend(upload(given), { returnLogSumExp: true })));
            for (const [name, values] of Object.entries(found)) results[`${name} ${at} ${given.shape[2]}`] = values;
          }
        }
        return results;
      };
      expectSameBits(await live(NAN_WORD), await live(0));
      await expectCleanBuffers(device, () => live(0));
    });

    test('a paged cache: unused rows, rows that were dropped, and pages that were freed', async () => {
      const [first, second, spoilt] = [rows(6), rows(3), rows(7)];
      const q = queries(2);
      const live = async (word: number) => {
        using cache = new PagedKeyValueCache(device, {
          numPages: 12,
          pageSize: 4,
          numKvHeads: KV_HEADS,
          headDim: DIM,
          valueDim: VALUE_DIM,
          dtype,
        });
        fill(cache, word);
        // two sequences leave pages full of what the others must not read
        const gone = [cache.add(), cache.add()];
        device.scope(() => cache.append(gone, spoil(word, spoilt[0]), spoil(word, spoilt[1])));
        for (const id of gone) cache.free(id);
        const ids = [cache.add(), cache.add()];
        device.scope(() => {
          cache.append(ids, upload(first[0]), upload(first[1]), { lengths: [6, 2] });
          // keys that are dropped again, in a page that a fork keeps
          cache.append(ids, spoil(word, spoilt[0]), spoil(word, spoilt[1]));
          cache.fork(ids[1]);
          cache.truncate(ids[0], 6);
          cache.truncate(ids[1], 2);
          cache.append(ids, upload(second[0]), upload(second[1]), { lengths: [3, 1] });
        });
        return await read(device.scope(() => cache.attend(ids, upload(q), { returnLogSumExp: true })));
      };
      expectSameBits(await live(NAN_WORD), await live(0));
      await expectCleanBuffers(device, () => live(0));
    });
  });
});
