/**
 * Where a command's words go: data on stdout, talk on stderr. Writing waits for the reader, so a slow pipe
 * costs no memory, and a reader that has gone (`| head`) ends the command quietly.
 */
import type { TerminalSettings } from "../config.ts";
import { createStyle, type Style } from "./colour.ts";
import type { Sink } from "./machine.ts";

/** Thrown to a command that writes to a pipe which nobody reads any more: no failure. */
export class PipeClosed extends Error {
  constructor() {
    super("the reader of stdout has gone");
    this.name = "PipeClosed";
  }
}

/** Without a terminal nothing is cut: another program reads it. */
const UNLIMITED_COLUMNS = 100_000;

export interface Terminal {
  /** True when the user asked for JSON. */
  readonly json: boolean;
  readonly stdout_is_terminal: boolean;
  readonly stderr_is_terminal: boolean;
  /** Columns that a table on stdout may use. */
  readonly columns: number;
  /** Colours for stdout, and for stderr. */
  readonly style: Style;
  readonly talk_style: Style;
  /** Data. Resolves when it is taken over. Errors: PipeClosed. */
  write(data: string | Uint8Array): Promise<void>;
  /** One JSON value: indented on a terminal, else a line. */
  writeJson(value: unknown): Promise<void>;
  /** One line of talk on stderr; never fails, never waits. */
  say(line: string): void;
  /** Talk without a newline, for progress. */
  sayRaw: (text: string) => void;
}

export function createTerminal(
  stdout: Sink,
  stderr: Sink,
  settings: TerminalSettings,
  json: boolean,
): Terminal {
  const stdout_is_terminal = stdout.isTTY === true;
  const stderr_is_terminal = stderr.isTTY === true;
  // Without listeners the process would end by an unhandled error; the callbacks below say the same.
  stdout.on?.("error", () => undefined);
  stderr.on?.("error", () => undefined);

  const write = (data: string | Uint8Array): Promise<void> =>
    new Promise((resolve, reject) => {
      if (data.length === 0) return resolve();
      stdout.write(data, (error) => {
        if (error === null || error === undefined) return resolve();
        const code = (error as NodeJS.ErrnoException).code;
        reject(code === "EPIPE" || code === "ERR_STREAM_DESTROYED" ? new PipeClosed() : error);
      });
    });
  const sayRaw = (text: string): void => {
    stderr.write(text, () => undefined);
  };

  return {
    json,
    stdout_is_terminal,
    stderr_is_terminal,
    columns: settings.columns ?? (stdout_is_terminal ? (stdout.columns ?? 80) : UNLIMITED_COLUMNS),
    style: createStyle(stdout_is_terminal && !settings.plain && !json),
    talk_style: createStyle(stderr_is_terminal && !settings.plain),
    write,
    writeJson: (value) => write(`${JSON.stringify(value, undefined, stdout_is_terminal ? 2 : undefined)}\n`),
    say: (line) => sayRaw(`${line}\n`),
    sayRaw,
  };
}
