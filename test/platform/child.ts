/** Runs a script against src/platform in a Node process of its own: what a process prints, and that it ends, shows only there. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface Child {
  /** The exit status; null if the process had to be killed. */
  readonly status: number | null;
  /** What the script printed, parsed. */
  readonly result: Record<string, unknown>;
  /** This library's own lines on stderr; drivers write there too. */
  readonly notes: readonly string[];
}

/** A folder with the platform's files as JavaScript, which Node 20 can run. */
export function compilePlatform(): string {
  const folder = mkdtempSync(join(tmpdir(), 'platform-test-'));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const room of ['platform', 'gpu']) {
    mkdirSync(join(folder, room));
    for (const file of readdirSync(join(ROOT, 'src', room)).filter((name) => name.endsWith('.ts'))) {
      const source = readFileSync(join(ROOT, 'src', room, file), 'utf8');
      const { outputText } = ts.transpileModule(source, {
        compilerOptions: {
          module: ts.ModuleKind.ESNext,
          target: ts.ScriptTarget.ES2022,
          rewriteRelativeImportExtensions: true,
        },
      });
      writeFileSync(join(folder, room, `${basename(file, '.ts')}.js`), outputText);
    }
  }
  return folder;
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/** Runs `script`, a module in `folder` that prints JSON. Variables set to undefined are absent in its environment. */
export async function runChild(
  folder: string,
  script: string,
  variables: Readonly<Record<string, string | undefined>> = {},
): Promise<Child> {
  const env = { ...process.env, VK_ICD_FILENAMES: undefined, VK_DRIVER_FILES: undefined, ...variables };
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    cwd: folder,
    env: Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined)),
    timeout: 110_000,
    killSignal: 'SIGKILL',
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const status = await new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  let result: Record<string, unknown>;
  try {
    result = JSON.parse(stdout) as Record<string, unknown>;
  } catch {
    throw new Error(`the child printed no JSON (status ${status}): ${stdout}\n${stderr}`);
  }
  return { status, result, notes: stderr.split('\n').filter((line) => line.startsWith('webgpu-attention:')) };
}

/** Opens a device as `openAdapter` with these arguments does, computes with it, destroys it, and prints what it was. */
export function openScript(...requests: readonly object[]): string {
  return `
    import { openAdapter } from './platform/node.js';
    const opened = [];
    for (const request of ${JSON.stringify(requests)}) {
      const environment = JSON.stringify(process.env);
      try {
        const { adapter, isSoftware, driver, reason } = await openAdapter(request);
        const device = await adapter.requestDevice();
        const code = '@group(0) @binding(0) var<storage, read_write> x: array<u32>;' +
          '@compute @workgroup_size(4) fn main(@builtin(local_invocation_index) i: u32) { x[i] = i * i; }';
        const pipeline = device.createComputePipeline({
          layout: 'auto',
          compute: { module: device.createShaderModule({ code }) },
        });
        const storage = device.createBuffer({ size: 16, usage: 0x80 | 0x4 });
        const staging = device.createBuffer({ size: 16, usage: 0x8 | 0x1 });
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        pass.setPipeline(pipeline);
        const entries = [{ binding: 0, resource: { buffer: storage } }];
        pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
        pass.dispatchWorkgroups(1);
        pass.end();
        encoder.copyBufferToBuffer(storage, 0, staging, 0, 16);
        device.queue.submit([encoder.finish()]);
        await staging.mapAsync(1);
        const squares = [...new Uint32Array(staging.getMappedRange())];
        device.destroy();
        opened.push({ driver, isSoftware, reason, squares });
      } catch (error) {
        opened.push({ error: error.name, message: error.message });
      }
      opened.at(-1).environmentIsKept = JSON.stringify(process.env) === environment;
    }
    console.log(JSON.stringify({ opened }));
  `;
}
