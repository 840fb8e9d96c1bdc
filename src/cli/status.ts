/**
 * `synthetic status`: whether a server runs, where, and how much there is. It changes and creates nothing.
 */
import type { Command } from "commander";
import type { StoreInspection } from "../app.ts";
import type { Config } from "../config.ts";
import { ERRORS, Problem } from "../errors.ts";
import { system_clock } from "../lib/clock.ts";
import type { Style } from "./colour.ts";
import { bytes, count, duration } from "./format.ts";
import { livingServer } from "./living-server.ts";
import type { Cli } from "./machine.ts";
import { sayProblem } from "./problem.ts";
import type { Act } from "./program.ts";
import { type Fact, renderFacts } from "./table.ts";
import { answers } from "./transports.ts";

interface Status {
  running: boolean;
  /** Whether the running server answers; null when none runs. */
  responds: boolean | null;
  url: string | null;
  pid: number | null;
  uptime_ms: number | null;
  /** Of the server when one runs, else of this binary. */
  version: string;
  /** Null, as what follows from it, for a server that was named by its address. */
  data_dir: string | null;
  database_bytes: number | null;
  wal_bytes: number | null;
  construct_count: number | null;
  session_count: number | null;
  migrations_pending_count: number | null;
}

type Asked = Pick<Status, "construct_count" | "session_count"> & { server_version: string | null };

const NOTHING: Asked = { construct_count: null, session_count: null, server_version: null };

/**
 * What can only be asked through a door. What stands in the way is said; the rest of the status is known
 * without.
 */
async function askDoor(cli: Cli): Promise<Asked> {
  try {
    const client = await cli.client();
    const total = async (path: string): Promise<number | null> => {
      const page = await client.json<{ total_count?: number }>({ path, query: { limit: 1, count: true } });
      return page.total_count ?? null;
    };
    const { version } = await client.json<{ version: string }>({ path: "/version" });
    return {
      construct_count: await total("/v1/constructs"),
      session_count: await total("/v1/sessions"),
      server_version: version,
    };
  } catch (error) {
    if (!(error instanceof Problem) || cli.config().url !== null) throw error;
    sayProblem(cli.terminal, error);
    return NOTHING;
  }
}

async function statusOf(cli: Cli, config: Config): Promise<Status> {
  const is_named = config.url !== null;
  const server = is_named ? null : livingServer(config.data);
  const responds = server === null ? null : await answers(server.url, cli.interruption.signal);
  const { inspectStore } = await import("../app.ts");
  const store: StoreInspection | null = is_named ? null : await inspectStore(config.data);
  const is_free = store !== null && store.exists && store.pending_count === 0 && !store.locked;
  const asked = is_named || responds === true || (server === null && is_free) ? await askDoor(cli) : NOTHING;
  return {
    running: is_named || server !== null,
    responds: is_named ? true : responds,
    url: config.url ?? server?.url ?? null,
    pid: server?.pid ?? null,
    uptime_ms: server === null ? null : Math.max(0, system_clock.now_ms() - server.started_at_ms),
    version: asked.server_version ?? cli.machine.version,
    data_dir: is_named ? null : config.data,
    database_bytes: store?.database_bytes ?? null,
    wal_bytes: store?.wal_bytes ?? null,
    construct_count: asked.construct_count,
    session_count: asked.session_count,
    migrations_pending_count: store?.pending_count ?? null,
  };
}

function factsOf(status: Status, { green, yellow, red, dim }: Style): Fact[] {
  const { running, responds, url, pid, uptime_ms, data_dir, migrations_pending_count } = status;
  const facts: Fact[] = [];
  if (!running) facts.push({ name: "server", value: "not running", paint: dim });
  else if (responds === false) facts.push({ name: "server", value: `does not answer at ${url}`, paint: red });
  else facts.push({ name: "server", value: `running at ${url}`, paint: green });
  if (pid !== null) facts.push({ name: "process", value: `${pid}, up ${duration(uptime_ms ?? 0)}` });
  facts.push({ name: "version", value: status.version });
  if (data_dir !== null) {
    facts.push({ name: "data", value: data_dir });
    facts.push({
      name: "database",
      value: `${bytes(status.database_bytes ?? 0)}, log ${bytes(status.wal_bytes ?? 0)}`,
    });
  }
  if (migrations_pending_count !== null && migrations_pending_count > 0) {
    facts.push({
      name: "migrations",
      value: `${migrations_pending_count} pending: synthetic migrate`,
      paint: yellow,
    });
  }
  if (status.construct_count !== null)
    facts.push({ name: "constructs", value: count(status.construct_count) });
  if (status.session_count !== null) facts.push({ name: "sessions", value: count(status.session_count) });
  return facts;
}

export function defineStatus(program: Command, act: Act): void {
  program
    .command("status")
    .summary("tell whether a server runs, where, and how much there is")
    .action(
      act(async (cli) => {
        const { terminal } = cli;
        const status = await statusOf(cli, cli.config());
        if (terminal.json) await terminal.writeJson(status);
        else await terminal.write(renderFacts(factsOf(status, terminal.style), terminal.style));
        return status.responds === false ? ERRORS.unreachable.exit : 0;
      }),
    );
}
