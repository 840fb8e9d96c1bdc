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
import type { Terminal } from "./terminal.ts";
import { loadToken } from "./token-file.ts";

/** How long closing may take after a fatal error of the engine: the process ends in any case. */
const LAST_CLOSE_MS = 2_000;

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

function announce(
  terminal: Terminal,
  log: Log,
  version: string,
  config: Config,
  created: boolean,
  url: string,
): void {
  if (!terminal.stderr_is_terminal) {
    log.info("listening", {
      url,
      pid: process.pid,
      version,
      data_dir: config.data,
      created,
      replication: "off",
    });
    return;
  }
  const { bold, dim, green } = terminal.talk_style;
  const from_environment = config.token !== null;
  terminal.say(`${green("synthetic")} ${version} listens on ${bold(url)}`);
  terminal.say(
    `  ${dim("data ")}  ${config.data}${created ? dim("  new") : ""}${dim("  nothing is replicated")}`,
  );
  terminal.say(
    `  ${dim("token")}  ${from_environment ? "the one in SYNTHETIC_TOKEN" : `\`synthetic token${config.sources.data === "default" ? "" : ` --data ${config.data}`}\` prints it`}`,
  );
}

async function serve(cli: Cli): Promise<number> {
  const { terminal, interruption, machine } = cli;
  interruption.patient = true;
  const config = cli.config();
  if (config.url !== null && config.sources.url === "flag")
    throw new Problem("usage", "--url names a server to talk to; serve is one.", {
      hint: "Use --host and --port.",
    });
  const started_at_ms = system_clock.now_ms();
  const log = createLog(
    system_clock,
    config.log_level ?? (terminal.stderr_is_terminal ? "warn" : "info"),
    terminal.sayRaw,
  );
  const { openApp } = await import("../app.ts");
  const app = await openApp({
    data_dir: config.data,
    migrate: config.migrate,
    seal_idle_ms: config.seal_idle_ms,
    log,
  });
  let end_reason = "";
  try {
    for (const warning of [...config.warnings, ...app.warnings]) log.warn("warning", { detail: warning });
    const { token } = loadToken(config.data, config.token);
    const { listener, url } = await startListening(cli, app, config, token, started_at_ms, log);
    try {
      writeServerRecord(config.data, thisServer(url, started_at_ms));
      announce(terminal, log, machine.version, config, app.created, url);
      // Whoever reads this line may leave; the server stays.
      if (terminal.json)
        await terminal
          .write(
            `${JSON.stringify({ event: "listening", url, pid: process.pid, data_dir: config.data, version: machine.version })}\n`,
          )
          .catch(() => undefined);
      end_reason = await Promise.race([app.failed, aborted(interruption.signal)]);
    } finally {
      // From here on a command waits for the directory instead of knocking at a closing door.
      removeServerRecord(config.data);
      if (terminal.stderr_is_terminal && end_reason === "")
        terminal.say("Finishing what is under way; once more to end at once.");
      await listener.stop(end_reason === "" ? limit("drain_ms") : 0);
    }
  } finally {
    await (end_reason === ""
      ? app.close()
      : Promise.race([app.close(), pause(LAST_CLOSE_MS, new AbortController().signal)]));
  }
  if (end_reason === "") {
    log.info("stopped", { code: interruption.code ?? 0 });
    return 0;
  }
  log.error("stopped", { reason: end_reason });
  return 1;
}

/** Resolves with no reason when the signal comes. */
function aborted(signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("");
    signal.addEventListener("abort", () => resolve(""));
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
