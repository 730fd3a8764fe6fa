/**
 * The platform's types in public signatures. Whether `GPUDevice`, `GPUBuffer` and `AbortSignal` are declared depends on the user's
 * compiler, its `lib` and its packages, so the declarations that we ship must not name them. Where somebody declares them, these
 * types are those very types. What only has the same members would not do there: `@webgpu/types` and TypeScript's DOM library
 * mark a `GPUBuffer`, so that nothing else is taken for one. Elsewhere they have the members that a user of this library may need.
 */

export type WebGPUDevice = typeof globalThis extends { GPUDevice: { prototype: infer Declared } }
  ? Declared
  : DeviceMembers;

export type WebGPUBuffer = typeof globalThis extends { GPUBuffer: { prototype: infer Declared } }
  ? Declared
  : BufferMembers;

export type WebGPUAdapter = typeof globalThis extends { GPUAdapter: { prototype: infer Declared } } ? Declared : object;

export type Signal = typeof globalThis extends { AbortSignal: { prototype: infer Declared } }
  ? Declared
  : SignalMembers;

interface DeviceMembers {
  label: string;
  readonly features: { has(name: string): boolean };
  readonly queue: {
    submit(commandBuffers: Iterable<object>): void;
    writeBuffer(buffer: BufferMembers, bufferOffset: number, data: ArrayBuffer | ArrayBufferView): void;
    onSubmittedWorkDone(): Promise<undefined>;
  };
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
  createBuffer(descriptor: { label?: string; size: number; usage: number; mappedAtCreation?: boolean }): BufferMembers;
  destroy(): void;
}

interface BufferMembers {
  label: string;
  readonly size: number;
  readonly usage: number;
  destroy(): void;
}

interface SignalMembers {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}
