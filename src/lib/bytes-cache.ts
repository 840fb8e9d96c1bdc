/** A least-recently-used cache that is bounded by bytes and counts its hits and misses. */

export interface BytesCache<V> {
  get(key: string): V | undefined;
  /** Keeps the value if it fits at all; drops the least recently used until the bound holds. */
  set(key: string, value: V, bytes: number): void;
  readonly stats: { hits: number; misses: number; bytes: number; count: number };
}

export function createBytesCache<V>(max_bytes: number): BytesCache<V> {
  const entries = new Map<string, { value: V; bytes: number }>();
  const stats = { hits: 0, misses: 0, bytes: 0, count: 0 };

  const remove = (key: string, bytes: number): void => {
    entries.delete(key);
    stats.bytes -= bytes;
    stats.count = entries.size;
  };

  return {
    stats,
    get(key) {
      const found = entries.get(key);
      if (found === undefined) {
        stats.misses += 1;
        return undefined;
      }
      stats.hits += 1;
      entries.delete(key);
      entries.set(key, found);
      return found.value;
    },
    set(key, value, bytes) {
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
    },
  };
}
