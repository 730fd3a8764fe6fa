import { createRequire } from 'node:module';

/**
 * Makes Dawn leave out its clamps of indices, so that a difference shows which minima are clamps. To be called before `webgpu` is
 * imported.
 */
export function withoutClamps() {
  const require = createRequire(import.meta.resolve('webgpu'));
  const native = require(`./dist/${process.platform}-${process.arch}/dawn.node`);
  const { create } = native;
  native.create = (options) =>
    create(
      options.map((option) => option.replace(/^enable-dawn-features=/, '$&disable_robustness,allow_unsafe_apis,')),
    );
}
