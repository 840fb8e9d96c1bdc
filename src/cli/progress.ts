/** Progress on a terminal, for anything that takes over a second; silent everywhere else. */
import type { Clock } from "../lib/clock.ts";
import type { Terminal } from "./terminal.ts";

const QUIET_MS = 1_000;
const STEP_MS = 200;

export interface Progress {
  /** Shows the line that `text` gives, at most five times a second. */
  update(text: () => string): void;
  /** Removes the line. */
  clear(): void;
}

export function createProgress(terminal: Terminal, clock: Clock): Progress {
  const started = clock.elapsed_ms();
  let last = started + QUIET_MS - STEP_MS;
  let shown = false;
  return {
    update(text) {
      const now = clock.elapsed_ms();
      if (!terminal.stderr_is_terminal || now - started < QUIET_MS || now - last < STEP_MS) return;
      last = now;
      shown = true;
      terminal.sayRaw(`\r\u001b[K${terminal.talk_style.dim(text())}`);
    },
    clear() {
      if (shown) terminal.sayRaw("\r\u001b[K");
      shown = false;
    },
  };
}
