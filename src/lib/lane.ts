/** A lane that lets only so many through in one turn of the event loop, so that what is quick need not wait for all of them. */

/** Resolves when the caller may go on: at once for the first `most` of a turn, in order for the others. */
export type Lane = () => Promise<void>;

export function createLane(most: number): Lane {
  const waiting: (() => void)[] = [];
  let passed = 0;
  let scheduled = false;

  const nextTurn = (): void => {
    scheduled = false;
    passed = 0;
    for (const pass of waiting.splice(0, most)) {
      passed += 1;
      pass();
    }
    if (passed > 0) schedule();
  };

  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(nextTurn);
  };

  return () => {
    schedule();
    if (passed < most && waiting.length === 0) {
      passed += 1;
      return Promise.resolve();
    }
    return new Promise((resolve) => waiting.push(resolve));
  };
}
