/**
 * Death at any moment of an opening: a process that creates a store, or brings an older one up to date, is killed at
 * its K-th write, sync, rename, unlink or truncation. What is then on disk is nothing, or a whole store of one version
 * or another, and the next start goes on. The control migrates without transactions and must be caught.
 */
import { Database } from "bun:sqlite";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { databasePath } from "../../src/store/sqlite/files.ts";
import { inspectStore, withProbe } from "../../src/store/sqlite/inspect.ts";
import { verifyMigrations } from "../../src/store/sqlite/migrate.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { listSnapshots } from "../../src/store/sqlite/snapshot.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { LONG_MIGRATIONS } from "../support/long-migrations.ts";
import { tool } from "../support/tools.ts";

const CHILD = resolve(import.meta.dir, "../support/open-child.ts");
/** What changes files. A kill comes before the call is carried out. */
const CALLS = ["pwrite64", "fsync", "fdatasync", "rename", "unlink", "ftruncate", "mkdir"];
const OLD_VERSION = 2;
const OLD_ROWS = 300;
/** Kill points of each scenario in the short size; the full one takes all there are. */
const SHORT_POINTS = 10;
/** The careless runner is caught at most points; one of these is enough. */
const CONTROL_POINTS = 12;

interface Scenario {
  name: string;
  /** Makes the directory as it is before the process that is killed. */
  prepare: (data_dir: string) => Promise<void>;
  thing: "open" | "bare";
  is_new: boolean;
}

interface Point {
  call: string;
  number: number;
}

async function openHere(data_dir: string, version = LONG_MIGRATIONS.length) {
  const migrations = LONG_MIGRATIONS.slice(0, version);
  return openDatabase({ data_dir, migrate: true, migrations, clock: system_clock, ids: system_ids });
}

/** A store of an older release, with rows in it, closed in good order. */
async function makeOldStore(data_dir: string): Promise<void> {
  const { writer, lock } = await openHere(data_dir, OLD_VERSION);
  fillOldStore(writer, 0);
  writer.close(true);
  lock.release();
}

/** The same as its server's crash left it: with rows that are only in the log. */
async function makeCrashedStore(data_dir: string): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), "synthetic-kill-"));
  const { writer, lock } = await openHere(join(scratch, "store"), OLD_VERSION);
  writer.run("PRAGMA wal_autocheckpoint = 0");
  fillOldStore(writer, OLD_ROWS);
  // Another process copies: a descriptor of ours would drop SQLite's locks (facts 1).
  Bun.spawnSync(["cp", "-a", join(scratch, "store"), data_dir]);
  writer.close(true);
  lock.release();
  rmSync(scratch, { recursive: true });
}

function fillOldStore(db: Database, extra: number): void {
  const insert = db.prepare(
    "INSERT INTO workspace (id, name, description, create_digest, revision, created_at_ms, updated_at_ms) VALUES ($id, $name, $text, '', 1, 0, 0)",
  );
  const mark = db.prepare(
    "INSERT INTO workspace_metadata (workspace, key, value) SELECT pk, 'k', 'v' FROM workspace WHERE name = $name",
  );
  db.run("BEGIN");
  for (let row = 1; row < OLD_ROWS + extra; row += 1) {
    insert.run({ id: `id-${row}`, name: `name-${row}`, text: "t".repeat(200) });
    mark.run({ name: `name-${row}` });
  }
  db.run("COMMIT");
}

const SCENARIOS: Scenario[] = [
  { name: "create", prepare: () => Promise.resolve(), thing: "open", is_new: true },
  { name: "migrate", prepare: makeOldStore, thing: "open", is_new: false },
  { name: "migrate after a crash", prepare: makeCrashedStore, thing: "open", is_new: false },
];
const CONTROL: Scenario = { name: "control", prepare: makeOldStore, thing: "bare", is_new: false };

function strace(log: string, inject: string[], scenario: Scenario, data_dir: string): { killed: boolean; said: string } {
  const program = tool("strace");
  if (program === null) throw new Error("there is no strace here");
  const trace = ["-f", "-qq", "-o", log, "-e", `trace=${CALLS.join(",")}`, ...inject];
  const { stdout, stderr } = Bun.spawnSync([program, ...trace, process.execPath, CHILD, scenario.thing, data_dir], {
    env: { ...process.env, BUN_OPTIONS: "" },
  });
  const said = stdout.toString();
  if (said !== "" && !said.includes('"done":true')) throw new Error(`the child failed: ${said}${stderr.toString()}`);
  if (inject.length === 0 && said === "") throw new Error(`the child said nothing: ${stderr.toString()}`);
  return { killed: said === "", said };
}

/** Every point at which the process could be killed, from a run that is not. */
async function pointsOf(scenario: Scenario, folder: string): Promise<Point[]> {
  const data_dir = join(folder, "count");
  await scenario.prepare(data_dir);
  const log = join(folder, "strace.log");
  strace(log, [], scenario, data_dir);
  const counts = new Map<string, number>();
  const lines = readFileSync(log, "latin1").split("\n");
  const main_thread = lines[0]?.split(" ")[0];
  for (const line of lines) {
    const [thread, call] = line.split(/[ (]+/);
    if (thread === main_thread && CALLS.includes(call ?? "")) counts.set(call ?? "", (counts.get(call ?? "") ?? 0) + 1);
  }
  rmSync(data_dir, { recursive: true });
  return [...counts].flatMap(([call, count]) => Array.from({ length: count }, (_, index) => ({ call, number: index + 1 })));
}

/** Some points of each call, so that the few renames are as likely as the many writes. */
function choose(points: readonly Point[], count: number, random: Random): Point[] {
  const calls = [...new Set(points.map(({ call }) => call))];
  return Array.from({ length: count }, () => {
    const call = random.pick(calls);
    return random.pick(points.filter((point) => point.call === call));
  });
}

function check(db: Database, query: string, wanted: unknown, what: string): string[] {
  const found = db.query(query).values()[0]?.[0];
  return found === wanted ? [] : [`${what} is ${String(found)}, not ${String(wanted)}`];
}

function rowFaults(db: Database, rows: number): string[] {
  return [
    ...check(db, "PRAGMA integrity_check", "ok", "integrity"),
    ...check(db, "SELECT count(*) FROM pragma_foreign_key_check", 0, "dangling rows"),
    ...check(db, "SELECT count(*) FROM workspace", rows, "workspaces"),
    ...check(db, "SELECT count(*) FROM workspace_metadata", rows - 1, "metadata"),
  ];
}

/** What a kill left, looked at without touching it. */
function remainsFaults(data_dir: string, { is_new }: Scenario): string[] {
  if (!existsSync(databasePath(data_dir))) return is_new ? [] : ["the store is gone"];
  const { fault, version } = inspectStore(data_dir, LONG_MIGRATIONS);
  if (fault !== null) return [fault];
  const lowest = is_new ? LONG_MIGRATIONS.length : OLD_VERSION;
  if (version < lowest) return [`version ${version} is below ${lowest}`];
  withProbe(data_dir, (db) => verifyMigrations(db, LONG_MIGRATIONS));
  return [];
}

/** A snapshot that has its name is whole, and of the old version. */
function snapshotFaults(data_dir: string, rows: number): string[] {
  return listSnapshots(data_dir).flatMap(({ path }) => {
    const db = new Database(path, { readonly: true });
    try {
      return [
        ...rowFaults(db, rows),
        ...check(db, "SELECT max(version) FROM migration", OLD_VERSION, "the snapshot's version"),
      ];
    } finally {
      db.close(true);
    }
  });
}

/** The next start goes on to the end, with every row. */
async function nextStartFaults(data_dir: string, rows: number): Promise<string[]> {
  const { writer, lock } = await openHere(data_dir);
  try {
    return [
      ...rowFaults(writer, rows),
      ...check(writer, "SELECT count(*) FROM ballast", 3000, "ballast"),
      ...check(writer, "SELECT max(version) FROM migration", LONG_MIGRATIONS.length, "the version"),
    ];
  } finally {
    writer.close(true);
    lock.release();
  }
}

async function strike(scenario: Scenario, point: Point, folder: string): Promise<{ killed: boolean; faults: string[] }> {
  const data_dir = join(folder, "struck");
  await scenario.prepare(data_dir);
  const rows = scenario.is_new ? 1 : inspectRows(data_dir);
  const inject = ["-e", `inject=${point.call}:signal=KILL:when=${point.number}`];
  const { killed } = strace("/dev/null", inject, scenario, data_dir);
  try {
    const faults = existsSync(data_dir)
      ? [...remainsFaults(data_dir, scenario), ...(scenario.is_new ? [] : snapshotFaults(data_dir, rows))]
      : [];
    return { killed, faults: faults.length > 0 ? faults : await nextStartFaults(data_dir, rows) };
  } catch (error) {
    return { killed, faults: [error instanceof Error ? error.message : String(error)] };
  } finally {
    rmSync(data_dir, { recursive: true, force: true });
  }
}

function inspectRows(data_dir: string): number {
  return withProbe(data_dir, (db) => Number(db.query("SELECT count(*) FROM workspace").values()[0]?.[0]));
}

async function campaign(scenarios: Scenario[], options: CampaignOptions, per_scenario: number | null): Promise<CampaignResult> {
  const random = createRandom(options.seed);
  const folder = mkdtempSync(join(tmpdir(), "synthetic-kill-"));
  const result: CampaignResult = { cases: 0, failures: [], notes: {} };
  try {
    for (const scenario of scenarios) {
      const all = await pointsOf(scenario, folder);
      const points = per_scenario === null ? all : choose(all, per_scenario, random);
      let killed_count = 0;
      for (const point of points) {
        const { killed, faults } = await strike(scenario, point, folder);
        result.cases += 1;
        killed_count += killed ? 1 : 0;
        for (const fault of faults) result.failures.push(`${scenario.name}, ${point.call} ${point.number}: ${fault}`);
      }
      // The number of calls varies by a few; a harness that no longer kills would be blind.
      if (killed_count < points.length * 0.9) result.failures.push(`${scenario.name}: only ${killed_count} of ${points.length} were killed`);
      result.notes[scenario.name] = `${killed_count} killed at ${points.length} of ${all.length} points`;
      options.log(`${scenario.name}: ${String(result.notes[scenario.name])}, failures so far ${result.failures.length}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return result;
}

export function run(options: CampaignOptions): Promise<CampaignResult> {
  return campaign(SCENARIOS, options, options.size === "short" ? SHORT_POINTS : null);
}

/** Migrations without transactions: has to fail. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return campaign([CONTROL], options, options.size === "short" ? CONTROL_POINTS : null);
}
