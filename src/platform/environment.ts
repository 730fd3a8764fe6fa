/** The environment of this process, as drivers read it: through the C library. */
import { AdapterNotFoundError } from '../gpu/errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Sets variables, and removes those that are undefined. In Node `process.env` is the C library's environment; Bun has a copy.
 *
 * @throws AdapterNotFoundError in Bun if its C library is not found
 */
export function setEnvironment(variables: Environment): void {
  const library = process.versions['bun'] === undefined ? undefined : cLibrary();
  for (const [name, value] of Object.entries(variables)) {
    if (value === undefined) {
      delete process.env[name];
      library?.unsetenv(asText(name));
    } else {
      process.env[name] = value;
      library?.setenv(asText(name), asText(value), 1);
    }
  }
}

interface CLibrary {
  setenv(name: Uint8Array, value: Uint8Array, overwrites: 0 | 1): number;
  unsetenv(name: Uint8Array): number;
}

interface ForeignFunctions {
  readonly dlopen: (
    name: string,
    functions: Readonly<Record<keyof CLibrary, { args: string[]; returns: string }>>,
  ) => { symbols: CLibrary };
}

const FUNCTIONS = {
  setenv: { args: ['ptr', 'ptr', 'int'], returns: 'int' },
  unsetenv: { args: ['ptr'], returns: 'int' },
};

/** glibc, or musl: the one that the process has loaded. */
function cLibrary(): CLibrary {
  const { dlopen } = process.getBuiltinModule('bun:ffi') as unknown as ForeignFunctions;
  for (const name of ['libc.so.6', 'libc.musl-x86_64.so.1', 'libc.musl-aarch64.so.1']) {
    try {
      return dlopen(name, FUNCTIONS).symbols;
    } catch {
      // It is another one.
    }
  }
  throw new AdapterNotFoundError(
    'createDevice: a driver cannot be chosen here, because Bun does not find its C library; start it with VK_ICD_FILENAMES, ' +
      "set to the driver's manifest",
  );
}

function asText(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}
