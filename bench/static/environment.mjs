/** Mesa's compiler behind the shim: what must be there, and the environment in which Dawn finds it. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('shim.c', import.meta.url));

/** What is missing for the tool to run at all, in words; undefined if nothing is. */
export function missing() {
  if (process.platform !== 'linux') return 'it runs on Linux only';
  const compiler = compile(['-fsyntax-only', '-x', 'c', '-'], '#include <vulkan/vk_icd.h>\n');
  if (compiler.error) return `there is no C compiler: ${compiler.error.message}`;
  if (compiler.status !== 0) return 'the Vulkan headers are not there (libvulkan-dev, or VULKAN_INCLUDE=<folder>)';
  return undefined;
}

function compile(words, input) {
  const include = process.env.VULKAN_INCLUDE;
  return spawnSync(process.env.CC || 'cc', [...(include ? ['-I', include] : []), ...words], {
    input,
    encoding: 'utf8',
  });
}

/** Builds the shim in a folder. */
export function buildDriver(folder) {
  const library = join(folder, 'libbench_static.so');
  const made = compile(['-O1', '-Wall', '-shared', '-fPIC', SOURCE, '-o', library, '-ldl', '-lpthread'], '');
  if (made.status !== 0) throw new Error(`bench:static: shim.c does not compile:\n${made.stderr}`);
  const icd = { file_format_version: '1.0.0', ICD: { library_path: library, api_version: '1.3.0' } };
  writeFileSync(join(folder, 'icd.json'), JSON.stringify(icd));
}

/** The variables under which a process sees only Mesa behind the shim of that folder. */
export function driverOf(folder, family, wave) {
  const manifest = join(folder, 'icd.json');
  return {
    VK_DRIVER_FILES: manifest,
    VK_ICD_FILENAMES: manifest,
    RADV_FORCE_FAMILY: family,
    GPU_STATIC_WAVE: String(wave),
    MESA_SHADER_CACHE_DISABLE: 'true',
    XDG_RUNTIME_DIR: folder,
  };
}
