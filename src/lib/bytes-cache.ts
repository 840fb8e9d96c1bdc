/** A least-recently-used cache that is bounded by bytes, counts its hits and misses, and loads what many want once. */

export interface BytesCache<V> {
  get(key: string): V | undefined;
  /** Keeps the value if it fits at all; drops the least recently used until the bound holds. */
  set(key: string, value: V, bytes: number): void;
  forget(key: string): void;
  /** The kept value, or what `load` gives, which is not called again while it is under way; null is not kept. */
  load(key: string, load: () => Promise<{ value: V; bytes: number } | null>): Promise<V | null>;
  readonly stats: { hits: number; misses: number; bytes: number; count: number };
}

export function createBytesCache<V>(max_bytes: number): BytesCache<V> {
  const entries = new Map<string, { value: V; bytes: number }>();
  const loading = new Map<string, Promise<V | null>>();
  const stats = { hits: 0, misses: 0, bytes: 0, count: 0 };

  const remove = (key: string, bytes: number): void => {
    entries.delete(key);
    stats.bytes -= bytes;
    stats.count = entries.size;
  };

  const get = (key: string): V | undefined => {
    const found = entries.get(key);
    if (found === undefined) {
      stats.misses += 1;
      return undefined;
    }
    stats.hits += 1;
    entries.delete(key);
    entries.set(key, found);
    return found.value;
  };

  const set = (key: string, value: V, bytes: number): void => {
    const old = entries.get(key);
    if (old !== undefined) remove(key, old.bytes);
    if (bytes > max_bytes) return;
    entries.set(key, { value, bytes });
    stats.bytes += bytes;
    stats.count = entries.size;
    for (const [oldest, entry] of entries) {
      if (stats.bytes <= max_bytes) break;
      remove(oldest, entry.bytes);
    }
  };

  return {
    stats,
    get,
    set,
    forget(key) {
      const old = entries.get(key);
      if (old !== undefined) remove(key, old.bytes);
    },
    async load(key, load) {
      const kept = get(key);
      if (kept !== undefined) return kept;
      const begun =
        loading.get(key) ??
        load()
          .then((loaded) => {
            if (loaded !== null) set(key, loaded.value, loaded.bytes);
            return loaded?.value ?? null;
          })
          .finally(() => loading.delete(key));
      loading.set(key, begun);
      return begun;
    },
  };
}
