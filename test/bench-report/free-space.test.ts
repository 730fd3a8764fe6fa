import { expect, test } from 'vitest';
import { FreeSpace, textWidth, type Label, type Spot } from '../../bench/report/free-space.ts';

const FRAME = { left: 0, top: 0, right: 200, bottom: 100 };
const SIZE = 10;
const RIGHT: Spot = { dx: 5, dy: 0, anchor: 'start' };
const LEFT: Spot = { dx: -5, dy: 0, anchor: 'end' };
const ABOVE: Spot = { dx: 0, dy: -12, anchor: 'middle' };

const spaceOf = () => new FreeSpace(FRAME, SIZE);

test('a label is placed at the first free spot', () => {
  const space = spaceOf();
  expect(space.place('abc', [100, 50], [RIGHT, LEFT])).toEqual({ text: 'abc', x: 105, y: 50, anchor: 'start' });
  expect(space.place('abc', [100, 50], [RIGHT, LEFT])).toMatchObject({ x: 95, anchor: 'end' });
  expect(space.place('abc', [100, 50], [RIGHT, LEFT])).toBeUndefined();
});

test('none is outside the frame', () => {
  expect(spaceOf().place('abc', [195, 50], [RIGHT])).toBeUndefined();
  expect(spaceOf().place('abc', [5, 50], [LEFT])).toBeUndefined();
  expect(spaceOf().place('abc', [100, 10], [ABOVE])).toBeUndefined();
});

test('nor on a dot or a line', () => {
  const dotted = spaceOf();
  dotted.takeDot([115, 50], 3);
  expect(dotted.place('abc', [100, 50], [RIGHT])).toBeUndefined();
  const lined = spaceOf();
  lined.takeLine([0, 0], [200, 100]);
  expect(lined.place('abc', [100, 50], [RIGHT])).toBeUndefined();
  expect(lined.place('abc', [100, 20], [RIGHT])).toBeDefined();
  expect(lined.isLineFree([0, 100], [200, 0], 2)).toBe(false);
  expect(lined.isLineFree([10, 90], [80, 55], 2)).toBe(true);
});

test('however many are wanted, no two overlap', () => {
  const space = spaceOf();
  const labels = Array.from({ length: 60 }, (_, i): Label | undefined =>
    space.place(`${i}×64`, [(i * 37) % 200, (i * 23) % 100], [RIGHT, LEFT, ABOVE]),
  ).filter((label) => label !== undefined);
  expect(labels.length).toBeGreaterThan(5);
  const boxes = labels.map(({ text, x, y, anchor }) => {
    const width = textWidth(text, SIZE);
    const left = anchor === 'start' ? x : anchor === 'end' ? x - width : x - width / 2;
    return { left, right: left + width, y };
  });
  for (const [i, a] of boxes.entries()) {
    for (const b of boxes.slice(0, i)) {
      expect(a.right <= b.left || b.right <= a.left || Math.abs(a.y - b.y) >= SIZE).toBe(true);
    }
  }
});
