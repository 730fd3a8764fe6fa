/**
 * Reads a file in Node, Bun and Deno, and in a page that vitest serves, where `import.meta.url` is an address of its server.
 *
 * @param address a path relative to `test/`, or an address
 */
export async function readFile(address: string): Promise<Uint8Array> {
  const url = new URL(address, import.meta.url);
  if (url.protocol === 'file:') {
    const { readFileSync } = await import('node:fs');
    return readFileSync(url);
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.href} cannot be read: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}
