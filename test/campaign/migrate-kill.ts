/**
 * Death at any moment of an opening: a process that creates a store, or brings an older one up to date, is
 * killed at its K-th write, sync, rename, unlink or truncation. What is then on disk is nothing, or a whole
 * store of one version or another, and the next start goes on. The control migrates without transactions and
 * must be caught.
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
import type { Migration } from "../../src/store/sqlite/migrations.ts";
import { type OpenedDatabase, openDatabase } from "../../src/store/sqlite/open.ts";
import { listSnapshots } from "../../src/store/sqlite/snapshot.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { longMigrations } from "../support/long-migrations.ts";
import { tool } from "../support/tools.ts";

const CHILD = resolve(import.meta.dir, "../support/open-child.ts");
/** What changes files. The kill comes before the call is carried out. */
const CALLS = ["pwrite64", "fsync", "fdatasync", "rename", "unlink", "ftruncate", "mkdir"];
/** A kill takes nothing that the kernel has, so the syncs may be free. */
const ROOT = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const OLD_VERSION = 2;
const OLD_ROWS = 300;

interface Plan {
  /** Few in the short size: every write costs a stop of the traced process. */
  ballast_rows: number;
  /** Kill points of one scenario. */
  points: (all: readonly Point[], random: Random) => Point[];
}

interface Point {
  call: string;
  number: number;
}

/** One of each call in turn, so that the few renames are as likely as the many writes. */
function some(all: readonly Point[], count: number, random: Random): Point[] {
  const calls = [...new Set(all.map(({ call }) => call))];
  return Array.from({ length: count }, (_, index) => {
    const call = calls[index % calls.length];
    return random.pick(all.filter((point) => point.call === call));
  });
}

const PLANS: Record<"short" | "full", Plan> = {
  short: { ballast_rows: 40, points: (all, random) => some(all, 12, random) },
  full: {
    ballast_rows: 3_000,
    points: (all, random) => [
      ...all.filter(({ call }) => call !== "pwrite64"),
      ...Array.from({ length: 300 }, () => random.pick(all.filter(({ call }) => call === "pwrite64"))),
    ],
  },
};

/** What the process finds, and what it does. */
interface Scenario {
  name: string;
  /** Makes the directory as it is before; nothing for a store that is to be created. */
  prepare: ((data_dir: string, migrations: readonly Migration[]) => Promise<void>) | null;
  thing: "open" | "bare";
}

interface Stage {
  folder: string;
  scenario: Scenario;
  ballast_rows: number;
  migrations: readonly Migration[];
  /** Workspaces of the store before; one in a new store. */
  row_count: number;
}

function open(data_dir: string, migrations: readonly Migration[]): Promise<OpenedDatabase> {
  return openDatabase({ data_dir, migrate: true, migrations, clock: system_clock, ids: system_ids });
}

function close({ writer, lock }: OpenedDatabase): void {
  writer.close(true);
  lock.release();
}

function fill(db: Database, from: number, through: number): void {
  const insert = db.prepare(
    `INSERT INTO workspace (id, name, description, create_digest, revision, created_at_ms, updated_at_ms)
     VALUES ($id, $name, $text, '', 1, 0, 0)`,
  );
  const mark = db.prepare(
    "INSERT INTO workspace_metadata (workspace, key, value) SELECT pk, 'k', 'v' FROM workspace WHERE name = $name",
  );
  db.run("BEGIN");
  for (let row = from; row <= through; row += 1) {
    insert.run({ id: `id-${row}`, name: `name-${row}`, text: "t".repeat(200) });
    mark.run({ name: `name-${row}` });
  }
  db.run("COMMIT");
}

/** A store of an older release, closed in good order. */
async function oldStore(data_dir: string, migrations: readonly Migration[]): Promise<void> {
  const opened = await open(data_dir, migrations.slice(0, OLD_VERSION));
  fill(opened.writer, 1, OLD_ROWS);
  close(opened);
}

/** The same as a crash left it: half of the rows are only in the log. */
async function crashedStore(data_dir: string, migrations: readonly Migration[]): Promise<void> {
  const original = `${data_dir}-original`;
  const opened = await open(original, migrations.slice(0, OLD_VERSION));
  fill(opened.writer, 1, OLD_ROWS / 2);
  opened.writer.run("PRAGMA wal_checkpoint(TRUNCATE)");
  fill(opened.writer, OLD_ROWS / 2 + 1, OLD_ROWS);
  // Another process copies: a descriptor of ours would drop SQLite's locks (facts 1).
  Bun.spawnSync(["cp", "-a", original, data_dir]);
  close(opened);
  rmSync(original, { recursive: true });
}

const SCENARIOS: Scenario[] = [
  { name: "create", prepare: null, thing: "open" },
  { name: "migrate", prepare: oldStore, thing: "open" },
  { name: "migrate after a crash", prepare: crashedStore, thing: "open" },
];
const CONTROL: Scenario = { name: "control", prepare: oldStore, thing: "bare" };

async function setStage(folder: string, scenario: Scenario, { ballast_rows }: Plan): Promise<Stage> {
  const migrations = longMigrations(ballast_rows);
  const template = join(folder, "template");
  rmSync(template, { recursive: true, force: true });
  await scenario.prepare?.(template, migrations);
  return {
    folder,
    scenario,
    ballast_rows,
    migrations,
    row_count: scenario.prepare === null ? 1 : OLD_ROWS + 1,
  };
}

/** Runs the process under strace in a fresh copy of the stage; tells whether it was killed. */
function perform(stage: Stage, data_dir: string, log: string, inject: string[]): boolean {
  const { folder, scenario, ballast_rows } = stage;
  if (scenario.prepare !== null) Bun.spawnSync(["cp", "-a", join(folder, "template"), data_dir]);
  const program = tool("strace");
  if (program === null) throw new Error("there is no strace here");
  // Not --seccomp-bpf: strace 6.1 then injects nothing.
  const trace = [program, "-f", "-qq", "-o", log, "-e", `trace=${CALLS.join(",")}`, ...inject];
  const child = [process.execPath, CHILD, scenario.thing, data_dir, String(ballast_rows)];
  const { stdout, stderr } = Bun.spawnSync([...trace, ...child], {
    env: { ...process.env, BUN_OPTIONS: "" },
  });
  const said = stdout.toString();
  const words = `${said}${stderr.toString()}`.trim();
  if (words !== "" && !said.includes('"done":true'))
    throw new Error(`the process failed by itself: ${words}`);
  return said === "";
}

/** Every point at which the process could be killed, from a run in which it is not. */
function pointsOf(stage: Stage): Point[] {
  const data_dir = join(stage.folder, "counted");
  const log = join(stage.folder, "strace.log");
  if (perform(stage, data_dir, log, [])) throw new Error("the process said nothing");
  const lines = readFileSync(log, "latin1").split("\n");
  rmSync(data_dir, { recursive: true });
  const main_thread = lines[0]?.split(" ")[0];
  const counts = new Map<string, number>();
  for (const line of lines) {
    const [thread, call = ""] = line.split(/[ (]+/);
    if (thread === main_thread && CALLS.includes(call)) counts.set(call, (counts.get(call) ?? 0) + 1);
  }
  return [...counts].flatMap(([call, count]) =>
    Array.from({ length: count }, (_, index) => ({ call, number: index + 1 })),
  );
}

function expectValue(db: Database, query: string, wanted: unknown): string[] {
  const found = db.query(query).values()[0]?.[0];
  return found === wanted ? [] : [`${query} gives ${String(found)}, not ${String(wanted)}`];
}

function rowFaults(db: Database, row_count: number): string[] {
  return [
    ...expectValue(db, "PRAGMA integrity_check", "ok"),
    ...expectValue(db, "SELECT count(*) FROM pragma_foreign_key_check", 0),
    ...expectValue(db, "SELECT count(*) FROM workspace", row_count),
    ...expectValue(db, "SELECT count(*) FROM workspace_metadata", row_count - 1),
  ];
}

/** What the kill left, looked at without touching it. */
function remainsFaults(data_dir: string, { scenario, migrations }: Stage): string[] {
  const is_new = scenario.prepare === null;
  if (!existsSync(databasePath(data_dir))) return is_new ? [] : ["the store is gone"];
  const { fault, version } = inspectStore(data_dir, migrations);
  if (fault !== null) return [fault];
  withProbe(data_dir, (db) => verifyMigrations(db, migrations));
  const lowest = is_new ? migrations.length : OLD_VERSION;
  return version < lowest ? [`version ${version} is below ${lowest}`] : [];
}

/** A snapshot that has its name is whole, and of the old version. */
function snapshotFaults(data_dir: string, { row_count }: Stage): string[] {
  return listSnapshots(data_dir).flatMap(({ path }) => {
    const db = new Database(path, { readonly: true });
    try {
      return [
        ...rowFaults(db, row_count),
        ...expectValue(db, "SELECT max(version) FROM migration", OLD_VERSION),
      ];
    } finally {
      db.close(true);
    }
  });
}

/** The next start goes on to the end, with every row. */
async function nextStartFaults(
  data_dir: string,
  { migrations, row_count, ballast_rows }: Stage,
): Promise<string[]> {
  const opened = await open(data_dir, migrations);
  try {
    return [
      ...rowFaults(opened.writer, row_count),
      ...expectValue(opened.writer, "SELECT count(*) FROM ballast", ballast_rows),
      ...expectValue(opened.writer, "SELECT max(version) FROM migration", migrations.length),
    ];
  } finally {
    close(opened);
  }
}

async function strike(stage: Stage, { call, number }: Point): Promise<{ killed: boolean; faults: string[] }> {
  const data_dir = join(stage.folder, "struck");
  const killed = perform(stage, data_dir, "/dev/null", ["-e", `inject=${call}:signal=KILL:when=${number}`]);
  try {
    const remains = existsSync(data_dir)
      ? [...remainsFaults(data_dir, stage), ...snapshotFaults(data_dir, stage)]
      : [];
    return { killed, faults: remains.length > 0 ? remains : await nextStartFaults(data_dir, stage) };
  } catch (error) {
    return { killed, faults: [error instanceof Error ? error.message : String(error)] };
  } finally {
    rmSync(data_dir, { recursive: true, force: true });
  }
}

async function play(
  stage: Stage,
  points: readonly Point[],
): Promise<{ killed_count: number; failures: string[] }> {
  const failures: string[] = [];
  let killed_count = 0;
  for (const point of points) {
    const { killed, faults } = await strike(stage, point);
    killed_count += killed ? 1 : 0;
    for (const fault of faults)
      failures.push(`${stage.scenario.name}, ${point.call} ${point.number}: ${fault}`);
  }
  // The number of calls varies by a few; a harness that does not kill would see nothing.
  if (killed_count < points.length * 0.9) {
    failures.push(`${stage.scenario.name}: only ${killed_count} of ${points.length} were killed`);
  }
  return { killed_count, failures };
}

async function campaign(scenarios: readonly Scenario[], options: CampaignOptions): Promise<CampaignResult> {
  const random = createRandom(options.seed);
  const folder = mkdtempSync(join(ROOT, "synthetic-kill-"));
  const result: CampaignResult = { cases: 0, failures: [], notes: {} };
  try {
    for (const scenario of scenarios) {
      const stage = await setStage(folder, scenario, PLANS[options.size]);
      const all = pointsOf(stage);
      const points = PLANS[options.size].points(all, random);
      const { killed_count, failures } = await play(stage, points);
      result.cases += points.length;
      result.failures.push(...failures);
      const note = `killed at ${killed_count} of ${all.length} points`;
      result.notes[scenario.name] = note;
      options.log(`${scenario.name}: ${note}, ${failures.length} failures`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return result;
}

export function run(options: CampaignOptions): Promise<CampaignResult> {
  return campaign(SCENARIOS, options);
}

/** Migrations without transactions: has to fail. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return campaign([CONTROL], options);
}
