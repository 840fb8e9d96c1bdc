/**
 * `synthetic status`: whether a server runs, where, and how much there is. It changes and creates nothing.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { StoreInspection } from "../app.ts";
import type { Config } from "../config.ts";
import { system_clock } from "../lib/clock.ts";
import { bytes, count, duration } from "./format.ts";
import { livingServer } from "./living-server.ts";
import type { Cli } from "./machine.ts";
import type { Act } from "./program.ts";
import { type Fact, renderFacts } from "./table.ts";

interface Status {
  running: boolean;
  url: string | null;
  pid: number | null;
  uptime_ms: number | null;
  /** Of the server when one runs, else of this binary. */
  version: string;
  data_dir: string;
  database_bytes: number;
  wal_bytes: number;
  construct_count: number | null;
  session_count: number | null;
  migrations_pending_count: number | null;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * What can only be asked through a door; nothing where there is no store, or one that cannot be opened as it
 * is.
 */
async function askDoor(
  cli: Cli,
  reachable: boolean,
): Promise<Pick<Status, "construct_count" | "session_count"> & { version?: string }> {
  if (!reachable) return { construct_count: null, session_count: null };
  const client = await cli.client();
  const total = async (path: string): Promise<number | null> =>
    (await client.json<{ total_count?: number }>({ path, query: { limit: 1, count: true } })).total_count ??
    null;
  const { version } = await client.json<{ version: string }>({ path: "/version" });
  return {
    construct_count: await total("/v1/constructs"),
    session_count: await total("/v1/sessions"),
    version,
  };
}

async function statusOf(cli: Cli, config: Config): Promise<Status> {
  const server = config.url === null ? livingServer(config.data) : null;
  const { inspectStore } = await import("../app.ts");
  const store: StoreInspection | null = config.url === null ? await inspectStore(config.data) : null;
  const usable = store !== null && store.exists && store.pending_count === 0 && !store.locked;
  const asked = await askDoor(cli, config.url !== null || server !== null || usable);
  return {
    running: config.url !== null || server !== null,
    url: config.url ?? server?.url ?? null,
    pid: server?.pid ?? null,
    uptime_ms: server === null ? null : Math.max(0, system_clock.now_ms() - server.started_at_ms),
    version: asked.version ?? cli.machine.version,
    data_dir: config.data,
    database_bytes: sizeOf(join(config.data, "synthetic.db")),
    wal_bytes: sizeOf(join(config.data, "synthetic.db-wal")),
    construct_count: asked.construct_count,
    session_count: asked.session_count,
    migrations_pending_count: store?.pending_count ?? null,
  };
}

function factsOf(status: Status, cli: Cli): Fact[] {
  const { green, yellow, dim } = cli.terminal.style;
  const { running, url, pid, uptime_ms, construct_count, session_count, migrations_pending_count } = status;
  const facts: Fact[] = [
    {
      name: "server",
      value: running ? `running at ${url ?? ""}` : "not running",
      paint: running ? green : dim,
    },
  ];
  if (pid !== null) facts.push({ name: "process", value: `${pid}, up ${duration(uptime_ms ?? 0)}` });
  facts.push({ name: "version", value: status.version });
  if (migrations_pending_count !== null) {
    facts.push({ name: "data", value: status.data_dir });
    facts.push({
      name: "database",
      value: `${bytes(status.database_bytes)}, log ${bytes(status.wal_bytes)}`,
    });
    if (migrations_pending_count > 0)
      facts.push({
        name: "migrations",
        value: `${migrations_pending_count} pending: synthetic migrate`,
        paint: yellow,
      });
  }
  if (construct_count !== null) facts.push({ name: "constructs", value: count(construct_count) });
  if (session_count !== null) facts.push({ name: "sessions", value: count(session_count) });
  return facts;
}

export function defineStatus(program: Command, act: Act): void {
  program
    .command("status")
    .summary("tell whether a server runs, where, and how much there is")
    .action(
      act(async (cli) => {
        const status = await statusOf(cli, cli.config());
        return cli.terminal.json
          ? cli.terminal.writeJson(status)
          : cli.terminal.write(renderFacts(factsOf(status, cli), cli.terminal.style));
      }),
    );
}
