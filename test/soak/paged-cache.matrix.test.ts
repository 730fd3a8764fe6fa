/**
 * A small server: requests share the pages of one cache, branch off from each other, are evicted when pages run out, come
 * back, and end. The model of it knows only which tokens each request holds.
 */
import { expect, test } from 'vitest';
import { ArgumentError, PagedKeyValueCache, type Device } from '../../src/index.ts';
import { testDevice } from '../device.ts';
import { Random } from '../random.ts';
import { attention } from '../reference/attention.ts';
import { arrange, type Token } from '../reference/cache.ts';
import { expectClose } from '../reference/compare.ts';
import { tolerances } from '../reference/tolerances.ts';
import { ROUNDS, Watch } from './watch.ts';

const PAGES = 24;
const PAGE_SIZE = 4;
const HEADS = 2;
const KV_HEADS = 1;
const DIM = 8;
const MOST_ACTIVE = 8;
/** Longer requests are not branched off, so that any request fits into the cache alone. */
const MOST_SHARED = 40;
/** Uploads and results have a few sizes, and a few of each live at once: their number does not grow with the rounds. */
const MOST_BUFFERS = 150;
const PROMPT = { least: 1, most: 20 };
const ANSWER = { least: 1, most: 12 };

interface Request {
  /** Sequence in the cache; undefined while it waits. */
  sequence?: number;
  readonly tokens: Token[];
  /** How many of the tokens are in the cache. */
  stored: number;
  /** Tokens still to come. */
  remaining: number;
}

class Server {
  readonly cache: PagedKeyValueCache;
  readonly active: Request[] = [];
  readonly waiting: Request[] = [];
  readonly counts = { arrived: 0, forks: 0, evictions: 0, completed: 0, tokens: 0 };
  readonly #device: Device;
  readonly #random = new Random(17);

  constructor(device: Device) {
    this.#device = device;
    this.cache = new PagedKeyValueCache(device, {
      numPages: PAGES,
      pageSize: PAGE_SIZE,
      numKvHeads: KV_HEADS,
      headDim: DIM,
    });
  }

  get isDone(): boolean {
    return this.counts.completed === ROUNDS;
  }

  /** One round: admits, gives every active request its next token, checks all of them, and ends those that are complete. */
  async step(): Promise<void> {
    while (this.active.length < MOST_ACTIVE && (this.waiting.length > 0 || this.counts.arrived < ROUNDS)) {
      const returned = this.waiting.shift();
      this.#admit(returned ?? this.#arrive());
      if (returned) break; // it may have evicted another, which must not evict it in turn at once
    }
    for (const request of this.active.filter(({ remaining }) => remaining > 0)) {
      request.tokens.push(this.#token(request.tokens.length));
      request.remaining--;
      this.counts.tokens++;
    }
    this.#store(this.active);
    this.#expectPages();
    await this.#expectSame();
    for (const request of this.active.filter(({ remaining }) => remaining === 0)) {
      this.#leave(request);
      this.counts.completed++;
    }
  }

  #token(position: number): Token {
    const row = () => Float64Array.from(this.#random.normals([KV_HEADS * DIM]));
    return { position, key: row(), value: row() };
  }

  /** A request of its own, or one that branches off from another and shares its pages until it writes. */
  #arrive(): Request {
    this.counts.arrived++;
    const remaining = this.#random.integer(ANSWER.least, ANSWER.most);
    const parents = this.active.filter(({ tokens }) => tokens.length <= MOST_SHARED);
    if (parents.length > 0 && this.#random.uniform() < 0.4) {
      const parent = this.#random.pick(parents);
      this.counts.forks++;
      return {
        sequence: this.cache.fork(parent.sequence!),
        tokens: [...parent.tokens],
        stored: parent.stored,
        remaining,
      };
    }
    const length = this.#random.integer(PROMPT.least, PROMPT.most);
    return { tokens: Array.from({ length }, (_, i) => this.#token(i)), stored: 0, remaining };
  }

  #admit(request: Request): void {
    request.sequence ??= this.cache.add();
    this.active.push(request);
    this.#store([request]);
  }

  /** Appends what the cache lacks of the requests. While pages are missing, another one loses its own and waits. */
  #store(wanted: readonly Request[]): void {
    for (;;) {
      const requests = wanted.filter(
        ({ sequence, stored, tokens }) => sequence !== undefined && stored < tokens.length,
      );
      if (requests.length === 0) return;
      const lengths = requests.map(({ tokens, stored }) => tokens.length - stored);
      const most = Math.max(...lengths);
      const rows = requests.map(({ tokens, stored }) => {
        const added: (Token | undefined)[] = tokens.slice(stored);
        while (added.length < most) added.push(undefined);
        return arrange(added, [1, KV_HEADS, DIM, DIM]);
      });
      const upload = (parts: readonly Float64Array[]) =>
        this.#device.tensor(Float32Array.from(parts.flatMap((part) => [...part])), [
          requests.length,
          KV_HEADS,
          most,
          DIM,
        ]);
      const ids = requests.map(({ sequence }) => sequence!);
      const before = ids.map((id) => this.cache.length(id));
      const free = this.cache.freePages;
      try {
        this.#device.scope(() => {
          const k = upload(rows.map(({ keys }) => keys.data));
          const v = upload(rows.map(({ values }) => values.data));
          this.cache.append(ids, k, v, { lengths });
        });
        for (const request of requests) request.stored = request.tokens.length;
        return;
      } catch (error) {
        if (!(error instanceof ArgumentError && error.message.includes('free pages'))) throw error;
        expect(ids.map((id) => this.cache.length(id))).toEqual(before);
        expect(this.cache.freePages).toBe(free);
        this.#evict(wanted.length === 1 ? wanted[0] : undefined);
      }
    }
  }

  #evict(kept: Request | undefined): void {
    const victim = this.#random.pick(this.active.filter((request) => request !== kept));
    this.#leave(victim);
    this.waiting.push(victim);
    this.counts.evictions++;
  }

  #leave(request: Request): void {
    this.cache.free(request.sequence!);
    request.sequence = undefined;
    request.stored = 0;
    this.active.splice(this.active.indexOf(request), 1);
  }

  /** A page is free unless an active request holds it. */
  #expectPages(): void {
    const held = new Set(this.active.flatMap(({ sequence }) => this.cache.pages(sequence!)));
    expect(this.cache.freePages).toBe(PAGES - held.size);
  }

  /** Every active request has exactly its tokens, and attends to all of them. */
  async #expectSame(): Promise<void> {
    const { cache, active } = this;
    if (active.length === 0) return;
    const width = HEADS * DIM;
    const queries = this.#random.normals([active.length, width]);
    const ids = active.map(({ sequence }) => sequence!);
    const { output } = this.#device.scope(() =>
      cache.attend(ids, this.#device.tensor(queries, [active.length, HEADS, 1, DIM])),
    );
    const [attended, keys, values] = await Promise.all([output.data(), cache.keys.data(), cache.values.data()]);
    output.dispose();
    for (const [b, { sequence, tokens }] of active.entries()) {
      const wanted = arrange(tokens, [1, KV_HEADS, DIM, DIM]);
      const pages = cache.pages(sequence!);
      expect(cache.length(sequence!)).toBe(tokens.length);
      expect(pages.length).toBe(Math.ceil(tokens.length / PAGE_SIZE));
      const stored = (storage: ArrayLike<number>) =>
        Float32Array.from({ length: tokens.length * DIM }, (_, at) => {
          const row = Math.floor(at / DIM);
          return storage[(pages[Math.floor(row / PAGE_SIZE)] * PAGE_SIZE + (row % PAGE_SIZE)) * DIM + (at % DIM)];
        });
      expectClose(stored(keys), wanted.keys.data, tolerances.exact, 'keys');
      expectClose(stored(values), wanted.values.data, tolerances.exact, 'values');
      const query = { shape: [1, HEADS, 1, DIM], data: queries.subarray(b * width, (b + 1) * width) };
      const expected = attention(query, wanted.keys, wanted.values).output.data;
      const row = attended.subarray(b * width, (b + 1) * width);
      expectClose(row, expected, tolerances.float32.attention, 'output');
    }
  }
}

test(`${ROUNDS} requests through a paged cache: nothing is lost, and no page leaks`, async () => {
  const device = await testDevice();
  const before = device.memory().live;
  const made = device.runtime.counters().buffers;
  const server = new Server(device);
  const watch = new Watch(device);
  while (!server.isDone) {
    await server.step();
    watch.note(server.counts.completed);
  }
  expect(server.counts).toMatchObject({ arrived: ROUNDS, completed: ROUNDS });
  expect(server.counts.forks).toBeGreaterThan(0);
  expect(server.counts.evictions).toBeGreaterThan(0);
  expect(server.active).toEqual([]);
  expect(server.waiting).toEqual([]);
  expect(server.cache.freePages).toBe(PAGES);
  const warm = Math.round(ROUNDS / 3);
  watch.tell(`${ROUNDS} requests (${JSON.stringify(server.counts)})`, warm);
  const [first, ...later] = watch.from(warm);
  expect(later.filter(({ live }) => live !== first.live)).toEqual([]);
  expect(later.at(-1)!.pipelines).toBe(first.pipelines);
  expect(later.at(-1)!.buffers - made).toBeLessThan(MOST_BUFFERS);
  server.cache.dispose();
  expect(device.memory().live).toBe(before);
});
