/** Waiting for input that may never come: no longer than is said, and never past a signal. */

/**
 * What the promise gives, or `undefined` when `ms` were over before it. Whatever it does later is nobody's surprise.
 * Errors: those of the promise; the signal's reason.
 */
export function within<T>(
  promise: Promise<T>,
  ms: number | null,
  signal: AbortSignal,
): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const interrupt = (): void => {
      leave();
      reject(signal.reason as Error);
    };
    const timer = ms === null ? undefined : setTimeout(() => (leave(), resolve(undefined)), ms);
    const leave = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", interrupt);
    };
    signal.addEventListener("abort", interrupt);
    if (signal.aborted) interrupt();
    promise.then(
      (value) => (leave(), resolve(value)),
      (error: unknown) => (leave(), reject(error as Error)),
    );
  });
}
