import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { LoadError } from '../../src/gpu/errors.ts';
import { readTar } from '../../src/platform/tar.ts';
import { makeTar, sign } from './tar.ts';

test('reads files of any length; folders hold nothing themselves', () => {
  const long = new Uint8Array(1025).fill(7);
  const archive = makeTar([
    { name: './', type: '5' },
    { name: './a.json', content: '{}' },
    { name: 'empty' },
    { name: 'full-block', content: 'x'.repeat(512) },
    { name: 'deep/long', prefix: 'very', content: long },
  ]);
  const files = readTar(archive);
  expect([...files.keys()]).toEqual(['a.json', 'empty', 'full-block', 'very/deep/long']);
  expect(Buffer.from(files.get('a.json')!).toString()).toBe('{}');
  expect(files.get('empty')).toHaveLength(0);
  expect(files.get('full-block')).toHaveLength(512);
  expect([...files.get('very/deep/long')!]).toEqual([...long]);
});

test('stops at the empty block, whatever follows', () => {
  const archive = Buffer.concat([makeTar([{ name: 'a' }]), Buffer.from('anything')]);
  expect([...readTar(archive).keys()]).toEqual(['a']);
});

describe('refuses', () => {
  const whole = makeTar([
    { name: 'a', content: 'x'.repeat(700) },
    { name: 'b', content: 'y' },
  ]);

  test('an archive cut off anywhere', () => {
    const end = whole.length - 1024; // of what comes before the two empty blocks
    for (const length of [0, 1, 511, 512, 513, 1211, 1212, 1535, 1536, 1600, 2047, 2048, 2049, 2559, end, end + 511]) {
      expect(() => readTar(whole.subarray(0, length)), `${length} bytes`).toThrow(LoadError);
    }
    expect(readTar(whole.subarray(0, end + 512)).size).toBe(2);
  });

  test('any flipped bit of a header', () => {
    for (let at = 0; at < 512; at += 7) {
      const damaged = Buffer.from(whole);
      damaged[at] ^= 4;
      expect(() => readTar(damaged), `byte ${at}`).toThrow(LoadError);
    }
  });

  test.each(['../evil', '/etc/evil', 'a/../../evil', './../evil', '..'])('the path %s', (name) => {
    expect(() => readTar(makeTar([{ name: 'good' }, { name }]))).toThrow(/must stay inside the archive/);
  });

  test('a path that leaves by its prefix', () => {
    expect(() => readTar(makeTar([{ name: 'evil', prefix: '..' }]))).toThrow(/must stay inside the archive/);
  });

  test.each(['1', '2', '3', '6', 'x', 'L'])('an entry of type %s', (type) => {
    expect(() => readTar(makeTar([{ name: 'link', type }]))).toThrow(/must be a file or folder/);
  });

  test.each(['77777777777\0', '-0000000001\0', '0x10\0', '\0', '\x80\0\0\0\0\0\0\0\0\0\0\x01'])(
    'the size %j',
    (size) => {
      const archive = makeTar([{ name: 'a', content: 'text' }]);
      const header = archive.subarray(0, 512);
      header.fill(0, 124, 136);
      header.write(size, 124, 'latin1');
      header.write(' '.repeat(8), 148);
      sign(header);
      expect(() => readTar(archive)).toThrow(LoadError);
    },
  );
});
