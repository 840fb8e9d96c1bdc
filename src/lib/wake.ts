/**
 * A wake-up bell by topic. It carries no data: the database is the truth, and whoever is woken reads it again.
 * A waiter that subscribes before its last read can therefore miss nothing.
 */

export interface Bell {
  /** Wakes everybody who listens to the topic. Never throws, never waits. */
  ring(topic: string): void;
  /** Calls `wake` at each ring until the returned function is called. */
  listen(topic: string, wake: () => void): () => void;
}

export function createBell(): Bell {
  const listeners = new Map<string, Set<() => void>>();
  return {
    ring(topic) {
      for (const wake of listeners.get(topic) ?? []) wake();
    },
    listen(topic, wake) {
      const set = listeners.get(topic) ?? new Set();
      listeners.set(topic, set);
      set.add(wake);
      return () => {
        set.delete(wake);
        if (set.size === 0) listeners.delete(topic);
      };
    },
  };
}
