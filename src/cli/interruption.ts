/**
 * Signals. The first one asks the command to end and is seen as an aborted signal; a second one ends the
 * process at once. Exit codes follow the shells: 128 and the number of the signal.
 */

/** SIGHUP is not among them: a handler would undo what nohup did. */
const CODES = { SIGINT: 130, SIGTERM: 143 } as const;
type SignalName = keyof typeof CODES;

export interface Interruption {
  readonly signal: AbortSignal;
  /** The exit code of the first signal, or null while there was none. */
  readonly code: number | null;
  /**
   * A command that ends by itself after a signal, in its own time, sets this; others are left after a grace.
   */
  patient: boolean;
  dispose(): void;
}

/** Listens until it is disposed of. */
export function listenForSignals(exit: (code: number) => never): Interruption {
  const controller = new AbortController();
  let code: number | null = null;
  const listeners = (Object.keys(CODES) as SignalName[]).map((name) => {
    const listener = (): void => {
      if (code !== null) exit(CODES[name]);
      code = CODES[name];
      controller.abort(new Error(`interrupted by ${name}`));
    };
    process.on(name, listener);
    return { name, listener };
  });
  return {
    signal: controller.signal,
    get code() {
      return code;
    },
    patient: false,
    dispose() {
      for (const { name, listener } of listeners) process.off(name, listener);
    },
  };
}

/** Resolves after the time, or at once when the signal is aborted. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal.aborted) done();
    else signal.addEventListener("abort", done);
  });
}
