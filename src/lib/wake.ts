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

/** Somebody who listens to topics and reads between rings. */
export interface Waiter {
  /** To be called before reading: rings from here on end the next wait. */
  expect(): void;
  /** Resolves at a ring since `expect`, or after this time. */
  wait(wait_ms: number): Promise<void>;
  /** Listens no more; a wait under way ends. */
  close(): void;
}

export function createWaiter(bell: Bell, topics: readonly string[]): Waiter {
  let rung = false;
  let wake: (() => void) | null = null;
  const hear = (): void => {
    rung = true;
    wake?.();
  };
  const stops = topics.map((topic) => bell.listen(topic, hear));
  return {
    expect() {
      rung = false;
    },
    wait: (wait_ms) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, wait_ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        if (rung) wake();
      }),
    close() {
      for (const stop of stops) stop();
      wake?.();
    },
  };
}
