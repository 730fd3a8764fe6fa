/** A chunk of the package, as far as it is read here. */
interface Chunk {
  readonly dynamicImports?: readonly string[];
  code?: string;
}

/**
 * Makes what `createDevice` loads on demand import `createDevice`'s own file, without taking anything from it.
 *
 * A bundler divides what a program and the parts that it loads later share by who needs it, into a file for each set of these parts,
 * and gzip compresses each file on its own. Whoever loads such a part has `createDevice` already. With the import, all of them
 * need the same, and the core is one file.
 *
 * @param core `createDevice`'s file
 */
export function oneCore(core: string) {
  return {
    name: 'one-core',
    generateBundle(_: unknown, bundle: Record<string, Chunk>): void {
      const folder = core.slice(0, core.lastIndexOf('/') + 1);
      const loaded = bundle[core].dynamicImports ?? [];
      if (loaded.length === 0) throw new Error(`${core} loads nothing on demand`);
      for (const file of loaded) {
        if (!file.startsWith(folder)) throw new Error(`${file} must lie below ${folder}`);
        const up = '../'.repeat(file.slice(folder.length).split('/').length - 1);
        bundle[file].code = `import "${up}${core.slice(folder.length)}";\n${bundle[file].code}`;
      }
    },
  };
}
