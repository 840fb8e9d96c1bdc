/** Turns at a name: whoever holds one keeps others of the same name waiting, in order. */

export interface Gate {
  /** Waits for the turn; the returned function ends it. */
  enter(name: string): Promise<() => void>;
  /** Whether somebody holds or awaits the name now. */
  isTaken(name: string): boolean;
}

export function createGate(): Gate {
  const last = new Map<string, Promise<void>>();
  return {
    async enter(name) {
      const before = last.get(name);
      const { promise, resolve } = Promise.withResolvers<void>();
      last.set(name, promise);
      await before;
      return () => {
        if (last.get(name) === promise) last.delete(name);
        resolve();
      };
    },
    isTaken: (name) => last.has(name),
  };
}
