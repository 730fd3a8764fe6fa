/** What the device is, and which kernels are chosen on it. */
import pc from 'picocolors';
import type { Device } from '../index.ts';
import { chooseRowLanes, rowsPerWorkgroup } from '../kernels/rows.ts';
import type { Traits } from '../tensor/traits.ts';
import { kernelNames } from '../tuning/pinned.ts';
import { TUNABLE_OPS } from '../tuning/problems.ts';
import { attentionKernels, matmulKernels } from './kernel-tables.ts';
import { formatBytes, table } from '../display/text.ts';

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
  section('Kernels of flashAttention, localAttention and their gradient', attentionKernels(device));
  section('Kernels of matmul', matmulKernels(device));
  section('Kernels to choose from', kernelsToChooseFrom(device));
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

function kernelsToChooseFrom({ traits }: Device): string {
  const names = TUNABLE_OPS.map((op) => [op, kernelNames(op, traits).join(', ')] as const);
  return `${list(names)}
webgpu-attention tune measures which are the fastest here, and ops take those from then on;
createDevice({ kernels: { matmul: '${kernelNames('matmul', traits)[0]}' } }) or --kernel pins one.`;
}

function softmaxRows(traits: Traits): string {
  const rows = [10, 256, 1024].map((keys) => {
    const together = rowsPerWorkgroup(keys, traits);
    const sharing = together > 1 ? `${together} rows share a workgroup` : 'each row has a workgroup of its own';
    return [`${keys} keys`, `${chooseRowLanes(keys, traits)} invocations`, sharing];
  });
  return table(['row', 'worked on by', 'so that'], rows);
}

/** Names and values in two columns. */
function list(entries: readonly (readonly [string, string])[]): string {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n');
}
