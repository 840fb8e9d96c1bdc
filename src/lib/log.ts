/**
 * The structured log: one JSON object a line. It is given where to write (the command line gives stderr) and
 * never writes bodies, tokens or query strings, because its callers name the fields one by one.
 */
import type { Clock } from "./clock.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, string | number | boolean | null | undefined>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
}

export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** A log that writes lines of at least `level` to `write`. */
export function createLog(clock: Clock, level: LogLevel, write: (line: string) => void): Log {
  const floor = LOG_LEVELS.indexOf(level);
  const at =
    (name: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      if (LOG_LEVELS.indexOf(name) < floor) return;
      const time = new Date(clock.now_ms()).toISOString();
      write(`${JSON.stringify({ time, level: name, event, ...fields })}\n`);
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** The words of an unknown thrown value, for the log only. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : ` (cause: ${errorText(error.cause)})`;
  return `${error.name}: ${error.message}${cause}`;
}
