import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Tensor } from '../../../src/index.ts';
import { position, UNBOUNDED } from '../../../src/ops/attention/internal/options.ts';
import { keyRange, type Band } from '../../kernels/count-tiles.ts';
import { visibility } from '../../reference/visibility.ts';

const alignment = fc.constantFrom('top-left' as const, 'bottom-right' as const);
const side = fc.integer({ min: -1, max: 12 });
const options = fc.record({
  isCausal: fc.oneof(fc.boolean(), alignment),
  window: fc.option(fc.record({ left: side, right: side, align: fc.option(alignment, { nil: undefined }) }), {
    nil: undefined,
  }),
});
const length = fc.integer({ min: 1, max: 12 });

function bandOf({ isCausal, window }: Parameters<typeof visibility>[1], queries: number, keys: number): Band {
  const sizes = {
    op: 'test',
    batch: 1,
    heads: 1,
    queryLength: queries,
    keyLength: keys,
    headDim: 1,
    isHeadless: false,
    like: { name: 'query', tensor: undefined as unknown as Tensor }, // looked at for masks only
  };
  const { band, fields } = position.resolve({ isCausal, window }, sizes)!;
  return { ...band!, queryOffset: fields!([])['sequences']['query_offset'] as number };
}

describe('the band', () => {
  test('is the intersection of the causal mask and the window, in every alignment', () => {
    fc.assert(
      fc.property(options, length, length, (given, queries, keys) => {
        const { left, right, queryOffset } = bandOf(given, queries, keys);
        const expected = visibility([1, 1, queries, keys], given).data;
        for (let i = 0; i < queries; i++) {
          for (let j = 0; j < keys; j++) {
            const position = i + queryOffset;
            const sees = j >= position - left && j <= position + right;
            expect({ i, j, sees }).toEqual({ i, j, sees: expected[i * keys + j] === 0 });
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  test('stays within 32 bits', () => {
    const ends = [
      bandOf({ isCausal: 'bottom-right', window: { left: -1, right: -1 } }, 1, 2 ** 29),
      bandOf({ isCausal: 'bottom-right', window: { left: UNBOUNDED, right: UNBOUNDED } }, 2 ** 29, 1),
    ];
    for (const { left, right, queryOffset } of ends) {
      for (const query of [0, 2 ** 29 - 1]) {
        for (const sum of [query + queryOffset - left, query + queryOffset + right + 1]) {
          expect(Math.abs(sum)).toBeLessThan(2 ** 31 + 1);
        }
      }
    }
  });
});

describe('keyRange', () => {
  test('spans the keys that any of the queries sees', () => {
    const cases = fc
      .tuple(options, length, length)
      .chain(([given, queries, keys]) =>
        fc.tuple(fc.constant({ given, queries, keys }), fc.nat({ max: queries - 1 }), fc.nat({ max: queries - 1 })),
      );
    fc.assert(
      fc.property(cases, ([{ given, queries, keys }, a, b]) => {
        const [first, last] = [Math.min(a, b), Math.max(a, b)];
        const band = bandOf(given, queries, keys);
        const [begin, end] = keyRange(band, first, last, keys);
        expect(Math.min(begin, end)).toBeGreaterThanOrEqual(0);
        expect(Math.max(begin, end)).toBeLessThanOrEqual(keys);
        const seen = visibility([1, 1, queries, keys], given).data;
        const visible = Array.from({ length: keys }, (_, j) => j).filter((j) =>
          Array.from({ length: last - first + 1 }, (_, i) => (first + i) * keys + j).some((at) => seen[at] === 0),
        );
        if (visible.length > 0) expect([begin, end]).toEqual([visible[0], visible.at(-1)! + 1]);
      }),
      { numRuns: 500 },
    );
  });
});
