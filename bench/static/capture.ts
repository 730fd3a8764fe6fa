/** What shim.c wrote for a pipeline. */
import { readFileSync } from 'node:fs';
import { parseProgram, type Block } from './isa.ts';

/** A buffer that a dispatch binds. */
export interface BoundBuffer {
  readonly set: number;
  readonly binding: number;
  /** Whether its offset comes with the dispatch, which puts its descriptor elsewhere. */
  readonly isDynamic: boolean;
  readonly bytes: number;
  /** Zero past the end, and all of a large buffer. */
  readonly words: Uint32Array;
}

export interface Dispatch {
  readonly groups: readonly [number, number, number];
  readonly buffers: readonly BoundBuffer[];
}

export interface Capture {
  /** RADV's statistics by name, and `Workgroup`, its invocations. */
  readonly statistics: ReadonlyMap<string, number>;
  readonly program: readonly Block[];
  /** Undefined for a pipeline that was made and not used. */
  readonly dispatch?: Dispatch;
}

/** @throws Error if there is no pipeline of this name in the folder */
export function readCapture(path: string): Capture {
  return {
    statistics: parseStatistics(readFileSync(`${path}.stats`, 'utf8')),
    program: parseProgram(readFileSync(`${path}.s`, 'utf8')),
    dispatch: parseDispatch(readIfThere(`${path}.dispatch`)),
  };
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

export function parseStatistics(text: string): Map<string, number> {
  const lines = text.trim().split('\n');
  return new Map(
    lines.map((line) => {
      const [name, value] = line.split('\t');
      return [name, Number(value)];
    }),
  );
}

export function parseDispatch(text: string): Dispatch | undefined {
  const [first, ...rest] = text.trim().split('\n');
  const groups = /^groups (\d+) (\d+) (\d+)$/.exec(first);
  if (!groups) return undefined;
  const [x, y, z] = groups.slice(1).map(Number);
  const buffers = rest.map((line): BoundBuffer => {
    const [, set, binding, kind, bytes, hex = ''] = line.split(' ');
    const contents = Buffer.alloc(4 * Math.ceil(hex.length / 8));
    contents.write(hex, 'hex');
    const words = Uint32Array.from({ length: contents.length / 4 }, (_, i) => contents.readUInt32LE(4 * i));
    return { set: Number(set), binding: Number(binding), isDynamic: kind === 'dynamic', bytes: Number(bytes), words };
  });
  return { groups: [x, y, z], buffers };
}
