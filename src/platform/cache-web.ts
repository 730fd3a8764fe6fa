/**
 * Where browsers and Deno keep small texts from one visit to the next; the twin of cache-node.ts. It uses cache storage,
 * which workers have too, and which exists wherever WebGPU does.
 */
interface CacheStorage {
  open(name: string): Promise<{
    match(url: string): Promise<Response | undefined>;
    put(url: string, response: Response): Promise<void>;
  }>;
}

const NAME = 'webgpu-attention';

async function openCache(): ReturnType<CacheStorage['open']> {
  const { caches } = globalThis as { caches?: CacheStorage };
  if (!caches) throw new Error('there is no cache storage here');
  return caches.open(NAME);
}

/** Cache storage needs an address as a key. Nothing ever requests this one. */
function addressOf(name: string): string {
  return `https://${NAME}.invalid/${name}`;
}

/** Who compiles shaders: this version of the browser, or of Deno. */
export function compilerName(): string {
  const { navigator } = globalThis as { navigator?: { userAgent?: string } };
  return navigator?.userAgent ?? '';
}

/** The text kept under a name; undefined if there is none. Rejects if it cannot be read. */
export async function readCached(name: string): Promise<string | undefined> {
  const cache = await openCache();
  const kept = await cache.match(addressOf(name));
  return kept?.text();
}

/**
 * Keeps a text under a name.
 *
 * @returns where it lies; rejects if it cannot be kept
 */
export async function writeCached(name: string, text: string): Promise<string> {
  const cache = await openCache();
  await cache.put(addressOf(name), new Response(text));
  return `cache storage, '${NAME}'`;
}
