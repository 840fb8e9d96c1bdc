/**
 * What a command is given: the streams, the doors that main.ts hands in as values, the settings and the
 * terminal. The command line knows http/ only through the shapes here.
 */
import type { Config, Flags } from "../config.ts";
import type { Context } from "../core/context.ts";
import type { Log } from "../lib/log.ts";
import type { Client } from "./client.ts";
import type { Interruption } from "./interruption.ts";
import type { Terminal } from "./terminal.ts";

export interface DoorOptions {
  context: Context;
  token: string;
  hosts: readonly string[];
  version: string;
  commit: string;
  log: Log;
  started_at_ms: number;
}

/** The HTTP API as a function from request to answer. */
export interface Door {
  /** `server` is absent for callers in the same process. */
  fetch(
    request: Request,
    server?: { timeout(request: Request, seconds: number): void },
  ): Response | Promise<Response>;
  readonly active_count: number;
  beginDrain(): void;
}

export interface Listener {
  url: string;
  port: number;
  /** Takes no new connections, waits so long for requests under way, then closes what is left. */
  stop(drain_ms: number): Promise<void>;
}

/** The two functions of http/, loaded when they are called. */
export interface Doors {
  createDoor(options: DoorOptions): Promise<Door>;
  listen(door: Door, options: { host: string; port: number; log: Log }): Promise<Listener>;
}

export interface Sink {
  write(data: string | Uint8Array, done?: (error?: Error | null) => void): unknown;
  on?(event: "error", listener: (error: Error) => void): unknown;
  isTTY?: boolean;
  columns?: number;
}

/** What main.ts gives to the command line. */
export interface Machine {
  doors: Doors;
  version: string;
  commit: string;
  stdin: { chunks(): AsyncIterable<Uint8Array>; is_terminal: boolean };
  stdout: Sink;
  stderr: Sink;
  /** Ends the process at once: only for a second signal. */
  exit(code: number): never;
}

/** What one run of one command works with. */
export interface Cli {
  machine: Machine;
  terminal: Terminal;
  /** Flags that are settings. */
  flags: Flags;
  /** Read when it is first asked for. Errors: `usage`. */
  config(): Config;
  /** The door to the data, opened when it is first asked for and closed behind the command. */
  client(): Promise<Client>;
  interruption: Interruption;
}
