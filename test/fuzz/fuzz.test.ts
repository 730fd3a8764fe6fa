/**
 * Random cases of every op, each of which must be refused with an ArgumentError or be the float64 reference's, by every kernel
 * in turn. Here a fixed sample; `npm run fuzz` (run.mjs) tries as many as are wanted, and says how to try one again.
 */
import { writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Device } from '../../src/index.ts';
import { HAS_DEFAULT_LIMITS, testDevice } from '../device.ts';
import { compilesFast, useMatrices } from '../emulation/emulate-matrices.ts';
import { IS_MATRIX } from '../matrix/narrow.ts';
import { attentionSubjects } from './attention.ts';
import { cacheSubjects } from './caches.ts';
import { productSubjects } from './products.ts';
import { OWN_CHOICE, type Subject } from './subject.ts';

const SUBJECTS: readonly Subject[] = [...attentionSubjects, ...cacheSubjects, ...productSubjects];

/** What `npm run fuzz` asks for, by the environment. */
interface Wanted {
  /** 0: until it is stopped. */
  readonly cases: number;
  readonly minutes?: number;
  readonly seed: number;
  readonly path?: string;
  readonly op?: string;
  readonly direction?: string;
  readonly family?: string;
  /** Where the counts are kept. */
  readonly report: string;
}

const given = process.env['WEBGPU_ATTENTION_FUZZ'];
const wanted = given ? (JSON.parse(given) as Wanted) : undefined;

interface Target {
  readonly subject: Subject;
  readonly kernel: string;
  cases: number;
  refused: number;
  failed: number;
}

/** Cases of a target before the next has its turn, at most: compiling takes most of the time, and a turn compiles little. */
const LONGEST_TURN = 100;
/** A target that failed so often has its turn no more. */
const MOST_FAILURES = 3;

/** Kernels for GPUs that a CPU driver with wide subgroups compiles for minutes: only those that are asked for by name. */
function isSlow({ traits }: Device, { pins }: Subject, kernel: string): boolean {
  const isForGpus = /^(?:register|cache)/.test(kernel) || (pins === 'attentionGradient' && kernel.startsWith('tile'));
  return isForGpus && traits.isSoftware && traits.subgroupSize >= 8;
}

/** Every subject with every kernel that the device has for it, tensor cores apart. */
function targetsOn(device: Device, hasMatrices: boolean): Target[] {
  const { op, direction, family } = wanted ?? {};
  return SUBJECTS.filter((subject) => op === undefined || subject.op === op)
    .filter((subject) => direction === undefined || subject.direction === direction)
    .flatMap((subject) => subject.kernels(device).map((kernel) => ({ subject, kernel })))
    .filter(({ kernel }) => kernel.startsWith('matrix') === hasMatrices)
    .filter(({ kernel }) => family === undefined || kernel === family || kernel.startsWith(`${family}-`))
    .filter(({ subject, kernel }) => family !== undefined || !isSlow(device, subject, kernel))
    .map((target) => ({ ...target, cases: 0, refused: 0, failed: 0 }));
}

/** Tries cases of the target from a seed on, and shrinks the first that fails; the failure as a text. */
async function tryCases(device: Device, target: Target, numRuns: number, seed: number, path?: string) {
  const { subject, kernel } = target;
  let isShrinking = false;
  const property = fc.asyncProperty(subject.cases(kernel, seed), async (c) => {
    const { live } = device.memory();
    try {
      const verdict = await subject.check(device, c);
      expect(device.memory().live, 'live memory').toBe(live);
      if (isShrinking) return;
      target.cases++;
      if (verdict === 'refused') target.refused++;
    } catch (error) {
      if (!isShrinking) target.cases++;
      isShrinking = true;
      throw error;
    }
  });
  const pinned = device.kernels.pinned as Map<string, string>;
  if (subject.pins && kernel !== OWN_CHOICE) pinned.set(subject.pins, kernel);
  try {
    const run = await fc.check(property, { numRuns, seed, path });
    if (!run.failed) return undefined;
    target.failed++;
    const adapter = process.env['WEBGPU_ATTENTION_ADAPTER'];
    const names = `--op ${subject.op} --direction ${subject.direction} --family ${kernel}`;
    return [
      `FAILED ${subject.op}, ${subject.direction}, ${kernel}: ${(run.errorInstance as Error).message}`,
      `  ${fc.stringify(run.counterexample![0])}`,
      `  ${adapter ? `WEBGPU_ATTENTION_ADAPTER=${adapter} ` : ''}npm run fuzz -- ${names} --seed ${run.seed} --path ${run.counterexamplePath}`,
    ].join('\n');
  } finally {
    if (subject.pins) pinned.delete(subject.pins);
  }
}

/** All targets in turn, until there were as many cases as wanted, or time is up. */
async function fuzz(device: Device, targets: readonly Target[], { cases, minutes, seed, path, report }: Wanted) {
  const total = (count: 'cases' | 'refused' | 'failed') => targets.reduce((sum, target) => sum + target[count], 0);
  const end = minutes === undefined ? Infinity : performance.now() + 60_000 * minutes;
  const most = cases === 0 ? Infinity : cases;
  const ofTurn = Math.min(LONGEST_TURN, Math.max(5, Math.ceil(most / targets.length)));
  const isDone = () => total('cases') >= most || performance.now() >= end;
  for (let turn = 0; !isDone(); turn++) {
    const open = targets.filter(({ failed }) => failed < MOST_FAILURES);
    if (open.length === 0) break;
    for (const target of open) {
      if (isDone()) break;
      const numRuns = path === undefined ? Math.min(ofTurn, most - total('cases')) : 1;
      // a seed of its own for every turn, but the first target's first is the one given
      const failure = await tryCases(device, target, numRuns, seed + 1000 * turn + targets.indexOf(target), path);
      if (failure) console.log(failure);
      const rows = targets.map(({ subject: { op, direction }, kernel, ...counts }) => ({
        op,
        direction,
        kernel,
        ...counts,
      }));
      writeFileSync(report, JSON.stringify(rows));
    }
    console.log(`${total('cases')} cases, ${total('refused')} of them refused, ${total('failed')} failed`);
    if (path !== undefined) break;
  }
}

/** Fixed, so that every machine tries the same: kernels that other tests compile too. */
const SEED = 20_260_200;

async function sample(device: Device, targets: readonly Target[], cases: number): Promise<void> {
  const failures: string[] = [];
  for (const target of targets) {
    const failure = await tryCases(device, target, cases, SEED);
    if (failure) failures.push(failure);
  }
  expect(failures.join('\n')).toBe('');
}

test.runIf(wanted)('cases until there are enough', { timeout: 0 }, async () => {
  const device = await testDevice();
  await fuzz(device, targetsOn(device, false), wanted!);
});

describe.runIf(wanted?.family?.startsWith('matrix'))('tensor cores', () => {
  useMatrices();
  test('cases until there are enough', { timeout: 0 }, async () => {
    const device = await testDevice();
    await fuzz(device, targetsOn(device, true), wanted!);
  });
});

describe.skipIf(wanted)('a sample', () => {
  test('by the kernels that the device takes', async () => {
    const device = await testDevice();
    const own = targetsOn(device, false).filter(({ kernel }) => kernel === OWN_CHOICE);
    // localAttention's kernels are flashAttention's, or almost
    const few = own.filter(({ subject }) => subject.op !== 'localAttention');
    await sample(device, IS_MATRIX ? own : few, IS_MATRIX ? 100 : 4);
  });

  test.runIf(IS_MATRIX)('by every kernel', async () => {
    const device = await testDevice();
    await sample(device, targetsOn(device, false), 10);
  });

  describe.runIf(IS_MATRIX)('by tensor cores', () => {
    useMatrices();
    test('or their emulation', async ({ skip }) => {
      skip(HAS_DEFAULT_LIMITS || !(await compilesFast()), 'the emulation takes this driver a minute to compile');
      const device = await testDevice();
      await sample(device, targetsOn(device, true), 10);
    });
  });
});
