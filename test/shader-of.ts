/** A shader from a text of a test, with the declarations that the build reads from a file's. */
import { declare } from '../build/wgsl-plugin.ts';
import type { Shader } from '../src/gpu/shader.ts';

export function shaderOf(name: string, text: string, parts: readonly Shader[] = []): Shader {
  return declare({ name, text, parts });
}
