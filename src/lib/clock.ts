/** Time as a value: the only place that asks the machine what time it is. Tests put another clock in its place. */

export interface Clock {
  /** UTC, milliseconds since 1970. May jump when the machine's clock is set. */
  now_ms(): number;
  /** Milliseconds that only grow; for durations, never stored. */
  elapsed_ms(): number;
}

export const system_clock: Clock = {
  now_ms: () => Date.now(),
  elapsed_ms: () => performance.now(),
};
