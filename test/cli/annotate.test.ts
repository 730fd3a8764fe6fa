import { expect, test } from 'vitest';
import { annotatedSource } from '../../src/cli/annotate.ts';
import type { Shader } from '../../src/gpu/shader.ts';

const part: Shader = { name: 'part', text: 'const SCALES: bool = HAS_MASK || false;', parts: [] };
const shader: Shader = {
  name: 'main',
  text: `const ROWS: u32 = 4u;  // rows a lane
const LANES: u32 = 8u;
const HAS_MASK: bool = false;
const WAYS: u32 = ROWS / LANES;
// replaceable
fn look(x: u32) -> u32 { return x; }
fn main() {
  if HAS_MASK { return; }
  if !HAS_MASK && WAYS > 1u {
  } else if SCALES && WAYS > 1u {
  }
  if SCALES || WAYS > 1u { }
  if SCALES && !HAS_MASK { }
  if (SCALES) { }
}`,
  parts: [part],
};
const launch = { shader, params: {}, workgroups: [1, 1, 1] } as const;

test('constants that the plan sets and conditions that constants decide are marked', () => {
  const text = annotatedSource({ ...launch, constants: { ROWS: 8, LANES: 8, HAS_MASK: true } });
  expect(text.split('\n').filter((line) => /\/\/ (?:specialised|here)|rows a lane/.test(line))).toEqual([
    'const ROWS: u32 = 8u;  // rows a lane // specialised, by default 4u',
    'const LANES: u32 = 8u; // specialised',
    'const HAS_MASK: bool = true; // specialised, by default false',
    '  if HAS_MASK { return; } // here: true',
    '  if !HAS_MASK && WAYS > 1u { // here: false',
    '  if SCALES || WAYS > 1u { } // here: true',
    '  if SCALES && !HAS_MASK { } // here: false',
  ]);
});

test('a condition that one false constant decides is marked, whatever else it asks', () => {
  const text = annotatedSource({ ...launch, constants: {} });
  expect(text).toContain('} else if SCALES && WAYS > 1u { // here: false');
  expect(text).toContain('if !HAS_MASK && WAYS > 1u {\n');
  expect(text).not.toContain('specialised');
});

test('inserted functions are part of the text', () => {
  const insertion = { name: 'look', text: 'fn look(x: u32) -> u32 { return x + 1u; }', explain: String };
  const text = annotatedSource({ ...launch, constants: {}, insertions: [insertion] });
  expect(text).toContain(insertion.text);
  expect(text).not.toContain('{ return x; }');
});
