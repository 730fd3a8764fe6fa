/** Memory layouts for fast-check. */
import fc from 'fast-check';
import type { Layout } from './upload.ts';

/** Row-major, or any order of four axes with other elements around them. */
export const anyLayout: fc.Arbitrary<Layout | undefined> = fc.option(
  fc.record({
    axes: fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }),
    before: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 4, maxLength: 4 }),
    after: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 4, maxLength: 4 }),
  }),
  { nil: undefined },
);

/** The layout for the last axes alone. */
export function ofRank(whole: Layout | undefined, rank: number): Layout {
  if (!whole) return {};
  const dropped = 4 - rank;
  return {
    axes: whole.axes!.filter((axis) => axis >= dropped).map((axis) => axis - dropped),
    before: whole.before!.slice(dropped),
    after: whole.after!.slice(dropped),
  };
}
