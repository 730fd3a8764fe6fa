import type { Shader } from '../src/gpu/shader.ts';

/** A shader from a text of a test. */
export function shaderOf(name: string, text: string, parts: readonly Shader[] = []): Shader {
  return { name, text, parts };
}
