/** What the device is, and which kernels are chosen on it. */
import pc from 'picocolors';
import type { Device } from '../index.ts';
import { chooseAttention } from '../kernels/fused-attention.ts';

import { chooseMatmul } from '../kernels/matmul.ts';
import { planSoftmax } from '../kernels/softmax.ts';
import { UNBOUNDED } from '../kernels/visibility.ts';
import type { Traits } from '../tensor/traits.ts';
import { formatBytes, table } from './text.ts';

const BYTE_LIMITS = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize'];

export function printInfo(device: Device, print: (text: string) => void): void {
  const { info } = device;
  const section = (title: string, body: string) => print(`${pc.bold(title)}\n${body}\n`);
  section('Device', describeDevice(device));
  section('Features', info.features.join(', ') || 'none');
  section(
    'Limits',
    list(
      Object.entries(info.limits).map(([name, value]) => [
        name,
        BYTE_LIMITS.includes(name) ? formatBytes(value) : value.toLocaleString('en'),
      ]),
    ),
  );
  section('Kernels of flashAttention and localAttention', attentionKernels(device));
  section('Kernels of matmul', matmulKernels(device));
  section('Rows of softmax', softmaxRows(device.traits));
  section(
    'float16',
    'Pairs in 32-bit words, computed with in float32: the same kernels with shader-f16 or without ' +
      `(this device has it${info.features.includes('shader-f16') ? '' : ' not'}).`,
  );
}

function describeDevice(device: Device): string {
  const { info } = device;
  const { budget } = device.memory();
  const { subgroupMinSize: least, subgroupMaxSize: most } = info;
  return list([
    ['name', info.device || 'not told'],
    ['description', info.description || 'not told'],
    ['memory budget', Number.isFinite(budget) ? formatBytes(budget) : 'none'],
    ['vendor', info.vendor || 'not told'],
    ['architecture', info.architecture || 'not told'],
    ['driver', info.isSoftware ? `${info.driver}, on the CPU` : info.driver],
    ['taken because', info.reason],
    ['subgroups of', most === 0 ? 'not told' : least === most ? `${most}` : `${least} to ${most}`],
  ]);
}

const DTYPES = ['float32', 'float16'] as const;

function attentionKernels({ traits, kernels }: Device): string {
  const rows = (['flashAttention', 'localAttention'] as const).flatMap((op) =>
    DTYPES.flatMap((dtype) =>
      [32, 64, 128, 256].map((dim, i, dims) => {
        const size = { op, dtype, headDim: dim, valueDim: dim };
        const { variant, reason } = chooseAttention(op, size, traits, kernels);
        const range = i === 0 ? `1 to ${dim}` : `${dims[i - 1] + 1} to ${dim}`;
        return [op, dtype, range, variant.name, `${variant.blockQ} queries × ${variant.blockK} keys`, reason];
      }),
    ),
  );
  return table(['op', 'dtype', 'head dims', 'kernel', 'a workgroup’s step', 'because'], rows);
}

function matmulKernels({ traits, kernels }: Device): string {
  const problems: readonly [string, number, number, number][] = [
    ['projection of [2, 10, 512] to 1536', 1, 20, 1536],
    ['projection of [2, 100, 512] to 1536', 1, 200, 1536],
    ['projection of [1, 1024, 1024] to 1024', 1, 1024, 1024],
    ['scores of 2 × 8 heads, 10 × 10', 16, 10, 10],
    ['scores of 2 × 8 heads, 1024 × 1024', 16, 1024, 1024],
  ];
  const rows = problems.flatMap(([name, batch, queries, columns]) =>
    DTYPES.map((dtype) => {
      const size = { batchShape: [batch], rows: queries, columns, aDType: dtype };
      const { variant, reason } = chooseMatmul(size, traits, kernels);
      return [name, dtype, variant.name, `${variant.rows} × ${variant.columns}`, reason];
    }),
  );
  return table(['product', 'dtype', 'kernel', 'a workgroup’s block', 'because'], rows);
}

function softmaxRows(traits: Traits): string {
  const heads = 8;
  const rows = [10, 256, 1024].map((keys) => {
    const { constants, workgroups } = planSoftmax(
      {
        op: 'info',
        shape: [1, heads, keys, keys],
        inDType: 'float32',
        outDType: 'float32',
        x: { strides: [heads * keys * keys, keys * keys, keys, 1], offset: 0 },
        scale: 1,
        visibility: { band: { left: UNBOUNDED, right: UNBOUNDED, queryOffset: 0 } },
        writesLogSumExp: false,
      },
      traits,
    );
    const together = Math.ceil((heads * keys) / (workgroups[0] * workgroups[1]));
    const sharing = together > 1 ? `${together} short rows share a workgroup` : 'a long row has a workgroup of its own';
    return [`${keys} keys`, `${constants['LANES']} invocations`, sharing];
  });
  return table(['row', 'worked on by', 'because'], rows);
}

/** Names and values in two columns. */
function list(entries: readonly (readonly [string, string])[]): string {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n');
}
