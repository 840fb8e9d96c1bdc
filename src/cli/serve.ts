/**
 * `synthetic serve`: the life of a server. Open, listen, leave a record of where; after the first signal take
 * no new work, finish what is under way, close. What was acknowledged is on disk at every moment, so ending
 * early loses nothing.
 */
import type { Command } from "commander";
import { type Config, SETTINGS } from "../config.ts";
import { Problem } from "../errors.ts";
import { system_clock } from "../lib/clock.ts";
import { createLog, type Log } from "../lib/log.ts";
import { systemCode } from "../lib/private-files.ts";
import { removeServerRecord, thisServer, writeServerRecord } from "../lib/server-record.ts";
import { limit } from "../limits.ts";
import type { App } from "../app.ts";
import type { Cli, Listener } from "./machine.ts";
import { pause } from "./interruption.ts";
import type { Act } from "./program.ts";
import { loadToken } from "./token-file.ts";

const EXAMPLES = `
Examples:
  $ synthetic serve
  $ synthetic serve --port 0 --json          the first line says where it listens
  $ SYNTHETIC_TOKEN=… synthetic serve --data /srv/synthetic --host 0.0.0.0 --hosts memory.example.com`;

/** The address in brackets where it must be (RFC 3986 §3.2.2). */
function hostName(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** Where commands on this machine reach it: an address that stands for all of them cannot be asked for. */
function reachableUrl(url: string, host: string, port: number): string {
  return host === "0.0.0.0" ? `http://127.0.0.1:${port}` : host === "::" ? `http://[::1]:${port}` : url;
}

/** Commands find the server by its record. On a full disk it serves without one: reads go on. */
function recordServer(data_dir: string, url: string, started_at_ms: number, log: Log): void {
  try {
    writeServerRecord(data_dir, thisServer(url, started_at_ms));
  } catch (error) {
    const code = systemCode(error);
    if (code !== "ENOSPC" && code !== "EDQUOT") throw error;
    log.warn("server_record_not_written", { reason: code, url });
  }
}

async function startListening(
  cli: Cli,
  app: App,
  config: Config,
  token: string,
  started_at_ms: number,
  log: Log,
): Promise<{ listener: Listener; url: string }> {
  const { doors, version, commit } = cli.machine;
  const { host, port } = config;
  const door = await doors.createDoor({
    context: app.context,
    token,
    hosts: [...config.hosts, hostName(host)],
    version,
    commit,
    log,
    started_at_ms,
  });
  try {
    const listener = await doors.listen(door, { host, port, log });
    return { listener, url: reachableUrl(listener.url, host, listener.port) };
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    const reason =
      code === "EADDRINUSE"
        ? "another program listens there"
        : code === "EACCES"
          ? "that needs more rights"
          : code;
    throw new Problem("unavailable", `It is not possible to listen on ${host}, port ${port}: ${reason}.`, {
      hint: "Choose another with --port; 0 picks a free one.",
      cause: error,
    });
  }
}

interface Started {
  url: string;
  created: boolean;
}

/** How a client comes by the token: a command to type, or where it was given. */
function tokenWords({ data, token, sources }: Config): string {
  if (token !== null) return "the one in SYNTHETIC_TOKEN";
  return sources.data === "default"
    ? "`synthetic token` prints it"
    : `\`synthetic token --data ${data}\` prints it`;
}

/**
 * Tells people on a terminal in three lines, everybody else in the log; with --json also the first line of
 * stdout.
 */
async function announce(
  { terminal, machine }: Cli,
  log: Log,
  config: Config,
  { url, created }: Started,
): Promise<void> {
  const facts = { url, pid: process.pid, data_dir: config.data, version: machine.version };
  if (!terminal.stderr_is_terminal)
    log.info("listening", { ...facts, created, replication: "off", token: tokenWords(config) });
  if (terminal.stderr_is_terminal || !terminal.json) {
    const { bold, dim, green } = terminal.talk_style;
    terminal.say(`${green("synthetic")} ${machine.version} listens on ${bold(url)}`);
    const notes = created ? "new, nothing is replicated" : "nothing is replicated";
    terminal.say(`  ${dim("data")}   ${config.data}  ${dim(notes)}`);
    terminal.say(`  ${dim("token")}  ${tokenWords(config)}`);
  }
  // Whoever reads this line may leave; the server stays.
  const line = `${JSON.stringify({ event: "listening", ...facts })}\n`;
  if (terminal.json) await terminal.write(line).catch(() => undefined);
}

/** Serves until a signal comes, or until the store can no longer write: then the reason is given. */
async function serveStore(
  cli: Cli,
  app: App,
  config: Config,
  log: Log,
  started_at_ms: number,
): Promise<string | null> {
  const { terminal, interruption } = cli;
  const { token } = loadToken(config.data, config.token);
  const { listener, url } = await startListening(cli, app, config, token, started_at_ms, log);
  let reason: string | null = null;
  try {
    recordServer(config.data, url, started_at_ms, log);
    await announce(cli, log, config, { url, created: app.created });
    reason = await Promise.race([app.failed, aborted(interruption.signal)]);
  } finally {
    // From here on a command waits for the directory instead of knocking at a closing door.
    removeServerRecord(config.data);
    if (terminal.stderr_is_terminal && reason === null)
      terminal.say("Finishing what is under way; once more to end at once.");
    await listener.stop(reason === null ? limit("drain_ms") : 0);
  }
  return reason;
}

async function serve(cli: Cli): Promise<number> {
  const { terminal, interruption } = cli;
  interruption.patient = true;
  const config = cli.config();
  if (config.sources.url === "flag")
    throw new Problem("usage", "--url names a server to talk to; serve is one.", {
      hint: "Use --host and --port.",
    });
  const started_at_ms = system_clock.now_ms();
  const level = config.log_level ?? (terminal.stderr_is_terminal ? "warn" : "info");
  const log = createLog(system_clock, level, terminal.sayRaw);
  const { openApp } = await import("../app.ts");
  const { data, migrate, seal_idle_ms } = config;
  const app = await openApp({ data_dir: data, migrate, seal_idle_ms, log });
  for (const detail of [...config.warnings, ...app.warnings]) log.warn("warning", { detail });
  let reason: string | null = null;
  try {
    reason = await serveStore(cli, app, config, log, started_at_ms);
  } finally {
    await (reason === null
      ? app.close()
      : Promise.race([app.close(), pause(limit("cli_last_close_ms"), new AbortController().signal)]));
  }
  if (reason === null) log.info("stopped", { signal: interruption.code ?? 0 });
  else log.error("stopped", { reason });
  return reason === null ? 0 : 1;
}

/** Resolves with no reason when the signal comes. */
function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null);
    signal.addEventListener("abort", () => resolve(null));
  });
}

export function defineServe(program: Command, act: Act): void {
  program
    .command("serve")
    .summary("serve the HTTP API of a data directory")
    .option(SETTINGS.host.flag, `${SETTINGS.host.description} (default: ${SETTINGS.host.default})`)
    .option(SETTINGS.port.flag, `${SETTINGS.port.description} (default: ${SETTINGS.port.default})`)
    .option(SETTINGS.hosts.flag, SETTINGS.hosts.description)
    .option(SETTINGS.migrate.flag, SETTINGS.migrate.description)
    .addHelpText("after", EXAMPLES)
    .action(act((cli) => serve(cli)));
}
