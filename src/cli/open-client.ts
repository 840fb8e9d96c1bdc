/**
 * Which door a command goes through: the server that was named; else the server of the data directory, if its
 * record names a process that lives; else the directory itself. A start or a stop under way is waited for.
 */
import { type Config, isLoopback } from "../config.ts";
import { Problem } from "../errors.ts";
import { system_clock } from "../lib/clock.ts";
import { createLog } from "../lib/log.ts";
import { limit } from "../limits.ts";
import { type Client, createClient, type Transport } from "./client.ts";
import { pause } from "./interruption.ts";
import { livingServer } from "./living-server.ts";
import type { Machine } from "./machine.ts";
import type { Terminal } from "./terminal.ts";
import { checkToken, newToken, readToken } from "./token-file.ts";
import { answers, httpTransport, processTransport } from "./transports.ts";

/** What the choice depends on; tests put others in their place. */
export interface Places {
  /** The address of the process that the record names, when that very process lives. */
  server(): string | null;
  answers(url: string): Promise<boolean>;
  /** Errors: `locked`. */
  openDirectory(): Promise<Transport>;
}

/**
 * The server or the directory. Errors: `unreachable` when the server lives and does not answer, `locked` when
 * the directory is held by something that is not a server; both only after `wait_ms`.
 */
export async function choose(
  places: Places,
  wait_ms: number,
  signal: AbortSignal,
): Promise<{ url: string } | { transport: Transport }> {
  const started = system_clock.elapsed_ms();
  for (;;) {
    const url = places.server();
    let failure: unknown;
    if (url === null) {
      try {
        return { transport: await places.openDirectory() };
      } catch (error) {
        if (!(error instanceof Problem) || error.code !== "locked") throw error;
        failure = error;
      }
    } else {
      if (await places.answers(url)) return { url };
      failure = new Problem("unreachable", `The server at ${url} does not answer.`, {
        hint: "`synthetic status` tells which process it is.",
      });
    }
    if (signal.aborted || system_clock.elapsed_ms() - started >= wait_ms) throw failure;
    await pause(limit("cli_wait_step_ms"), signal);
  }
}

/** Opens the directory in this process, with a token that nobody else knows. */
async function openDirectory(
  machine: Machine,
  terminal: Terminal,
  config: Config,
): Promise<{ transport: Transport; token: string }> {
  const { openApp } = await import("../app.ts");
  const log = createLog(system_clock, config.log_level ?? "error", (line) => terminal.sayRaw(line));
  const app = await openApp({
    data_dir: config.data,
    migrate: config.migrate,
    seal_idle_ms: config.seal_idle_ms,
    log,
  });
  try {
    if (app.created) terminal.say(`A new store was made in ${config.data}`);
    const token = newToken();
    const door = await machine.doors.createDoor({
      context: app.context,
      token,
      hosts: [],
      version: machine.version,
      commit: machine.commit,
      log,
      started_at_ms: system_clock.now_ms(),
    });
    return { transport: processTransport(door, config.data, () => app.close()), token };
  } catch (error) {
    await app.close();
    throw error;
  }
}

function openNamed(url: string, config: Config, terminal: Terminal, signal: AbortSignal): Client {
  const token = config.token === null ? null : checkToken(config.token);
  if (token === null) {
    // The token of this directory is never sent to an address that somebody put into the environment.
    throw new Problem("usage", "A server that is named by its address needs its token.", {
      hint: "Set SYNTHETIC_TOKEN; on that machine `synthetic token` prints it.",
    });
  }
  const { protocol, hostname } = new URL(url);
  if (protocol === "http:" && !isLoopback(hostname))
    terminal.say(`The token goes to ${url} without encryption.`);
  return createClient(httpTransport(url), token, signal);
}

/**
 * Errors: `usage` (no token for a named server), `unreachable`, `locked`, and what opening the directory
 * says.
 */
export async function openClient(
  machine: Machine,
  terminal: Terminal,
  config: Config,
  signal: AbortSignal,
): Promise<Client> {
  if (config.url !== null) return openNamed(config.url, config, terminal, signal);
  let own_token = "";
  const places: Places = {
    server: () => livingServer(config.data)?.url ?? null,
    answers: (url) => answers(url, signal),
    async openDirectory() {
      const { transport, token } = await openDirectory(machine, terminal, config);
      own_token = token;
      return transport;
    },
  };
  const chosen = await choose(places, limit("cli_wait_ms"), signal);
  if ("transport" in chosen) return createClient(chosen.transport, own_token, signal);
  const token = config.token === null ? readToken(config.data) : checkToken(config.token);
  if (token === null) {
    throw new Problem("unauthorized", `There is no token in ${config.data}.`, {
      hint: "Set SYNTHETIC_TOKEN to the one that the server was started with.",
    });
  }
  // A server that is started again may come back at another address.
  return createClient(httpTransport(chosen.url, places.server), token, signal);
}
