/**
 * PyTorch's own gradients through the ops. Of the fused ones `npm test` takes the cases whose kernels other tests share:
 * to compile for each dtype and bucket of head dims is what takes the time. In float16 a gradient may err at most twice as
 * much as an evaluation that stores every stage in float16, plus one rounding of the largest.
 */
import { f16round } from '@petamoriken/float16';
import { describe, expect, test } from 'vitest';
import { describeConformance, type LocalCase, type SdpaCase } from '../../conformance.ts';
import { narrow } from '../../matrix/narrow.ts';
import { attentionGradient } from '../../reference/attention-gradient.ts';
import { expectClose, expectFloat16Close } from '../../reference/compare.ts';
import { localOptions, sdpaOptions } from '../../reference/golden-options.ts';
import { gradientTolerance, tolerances } from '../../reference/tolerances.ts';
import { ATTENTION_OPS, type AttentionOp, largest, type Problem } from './attention-run.ts';
import { gradientMagnitude, runGradients } from './attention-backward-run.ts';
import type { Float } from '../upload.ts';

const DTYPES: readonly Float[] = ['float32', 'float16'];
const GOLDEN = { q: 'dq', k: 'dk', v: 'dv', mask: 'dbias' } as const;

await describeConformance('sdpa', (cases) => {
  describe.each(['flashAttention', 'scaledDotProductAttention'] as const)('%s', (op) => {
    describe.each(DTYPES)('%s', (dtype) => {
      const few = cases.filter((c) => suits(op, c, dtype));
      test.each(narrow(few, cases))('$name', (c) => expectGolden(op, c, sdpaOptions(c), dtype));
    });
  });
});

await describeConformance('local', (cases) => {
  describe.each(narrow<AttentionOp>(['localAttention', 'scaledDotProductAttention'], ATTENTION_OPS))('%s', (op) => {
    describe.each(DTYPES)('%s', (dtype) => {
      const few = cases.filter((c) => suits(op, c, dtype));
      test.each(narrow(few, cases))('$name', (c) => expectGolden(op, c, localOptions(c), dtype));
    });
  });
});

function suits(op: AttentionOp, c: SdpaCase | LocalCase, dtype: Float): boolean {
  const dim = Math.max(c.tensor('q').shape.at(-1)!, c.tensor('v').shape.at(-1)!);
  if (op === 'scaledDotProductAttention') return dtype === 'float32' || dim <= 32;
  return dim <= 32 && (dtype === 'float32' || !('softcap' in c && c.softcap));
}

async function expectGolden(
  op: AttentionOp,
  c: SdpaCase | LocalCase,
  options: Omit<Problem, 'q' | 'k' | 'v'>,
  dtype: Float,
): Promise<void> {
  const problem: Problem = { q: c.tensor('q'), k: c.tensor('k'), v: c.tensor('v'), ...options };
  const { q, k, v } = problem;
  const gradients = { output: c.tensor('dout') };
  const actual = await runGradients(op, problem, gradients, dtype);
  const names = Object.entries(GOLDEN).filter(([, golden]) => c.has(golden));
  expect(Object.keys(actual)).toEqual(names.map(([name]) => name));
  const rounded = dtype === 'float16' ? attentionGradient(q, k, v, gradients, options, f16round) : undefined;
  for (const [key, golden] of names) {
    const name = key as keyof typeof GOLDEN;
    const expected = c.tensor(golden).data;
    const label = `gradient of ${name}`;
    if (rounded) {
      const room = tolerances.float16.gradientBeyondStraightforward * Math.max(1, largest(expected));
      expectFloat16Close(actual[name]!, rounded[name]!.data, expected, room, label);
      continue;
    }
    const magnitude = Math.max(gradientMagnitude(problem, gradients), largest(expected));
    const tolerance = gradientTolerance(dtype, { maxScore: largest(c.tensor('lse').data), magnitude });
    expectClose(actual[name]!, expected, tolerance, label);
  }
}
