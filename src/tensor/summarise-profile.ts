/** Sums up a profile's dispatches by kernel. Loaded when a program profiles, because few do. */
import type { Profiled, ProfiledDispatch } from '../gpu/profiler.ts';
import { chromeTrace } from '../gpu/trace.ts';
import type { KernelProfile, Profile, ProfileOptions, ProfileRoof } from './profile.ts';

export function profileOf<T>(value: T, profiled: Profiled, device: string, { roof }: ProfileOptions): Profile<T> {
  const { dispatches, isTimed } = profiled;
  const gpuTime = isTimed ? sum(dispatches, (dispatch) => dispatch.gpuTime!) : undefined;
  const groups = new Map<string, ProfiledDispatch[]>();
  for (const dispatch of dispatches) {
    const key = `${dispatch.pipeline} ${dispatch.label}`;
    const group = groups.get(key);
    if (group) group.push(dispatch);
    else groups.set(key, [dispatch]);
  }
  const kernels = [...groups.values()].map((calls) => kernelOf(calls, gpuTime, roof));
  if (isTimed) kernels.sort((a, b) => b.gpuTime! - a.gpuTime!);
  return {
    value,
    gpuTime,
    dispatches: isTimed ? dispatches.map(({ label, gpuTime: time }) => ({ label, gpuTime: time! })) : [],
    kernels,
    trace: () => chromeTrace(profiled, device),
  };
}

function kernelOf(calls: readonly ProfiledDispatch[], whole: number | undefined, roof?: ProfileRoof): KernelProfile {
  const [{ label: op, kernel, constants, operations: counted }] = calls;
  const gpuTime = whole === undefined ? undefined : sum(calls, (call) => call.gpuTime!);
  const bytesRead = sum(calls, (call) => call.bytesRead);
  const bytesWritten = sum(calls, (call) => call.bytesWritten);
  const operations = counted === undefined ? undefined : sum(calls, (call) => call.operations ?? 0);
  // a clock may be too coarse to see a kernel
  const per = (amount: number | undefined) =>
    amount !== undefined && gpuTime! > 0 ? amount / gpuTime! / 1e6 : undefined;
  const bytes = bytesRead + bytesWritten;
  const least = roof && Math.max(bytes / roof.copyGBs, (operations ?? 0) / roof.f32Gflops);
  return {
    op,
    kernel,
    constants,
    calls: Math.round(sum(calls, (call) => call.share)),
    gpuTime,
    timeShare: gpuTime !== undefined && whole! > 0 ? gpuTime / whole! : undefined,
    bytesRead,
    bytesWritten,
    gbs: per(bytes),
    operations,
    gflops: per(operations),
    roofShare: per(least),
  };
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
