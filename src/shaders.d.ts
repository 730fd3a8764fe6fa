declare module '*.wgsl' {
  import type { Shader } from './gpu/shader.ts';
  const shader: Shader;
  export default shader;
}

// The package's entry point cannot be imported by Node as ESM; its module file can, but has no typings of its own.
declare module 'wgsl_reflect/wgsl_reflect.module.js' {
  export * from 'wgsl_reflect/types/index';
}
