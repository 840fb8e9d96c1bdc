/**
 * kill -9 at random moments and at chosen system calls, under mixed load with sealing, merging and trimming. After each
 * the server is started again on the same directory: nothing acknowledged is lost, doubled, reordered or changed, heads
 * verify, the database is whole, and it is ready within a second. The control damages a store in four ways that no
 * engine notices; the verification has to name each.
 */
import { Database } from "bun:sqlite";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { type Server, startServer } from "../support/server.ts";
import { tool } from "../support/tools.ts";
import { fetchTranscript } from "../support/transcript.ts";
import {
  createWorkload,
  headBehind,
  NO_HEAD,
  type Sent,
  type Workload,
  WITH_PARENT,
  type WorkloadStats,
} from "../support/verify.ts";

const SIZES = {
  short: { random: 3, chosen: 3, kills_a_store: 6, load_ms: 500 },
  full: { random: 200, chosen: 200, kills_a_store: 12, load_ms: 2_000 },
};
/** A tail is sealed as soon as the sealer looks: once a second, beside those that are full. */
const ENV = { SYNTHETIC_SEAL_IDLE_MS: "60" };
const READY_MS = 1_000;
/** On a machine that does other things, too: the share of starts that may take longer than READY_MS. */
const SLOW_SHARE = 0.02;
/** The main thread's calls that change files. Counters of strace are by thread. */
const CALLS = ["pwrite64", "fsync", "ftruncate"] as const;
type Call = (typeof CALLS)[number];
/** In which order they are struck; few truncate. */
const TURNS = [
  "pwrite64",
  "fsync",
  "pwrite64",
  "fsync",
  "pwrite64",
  "fsync",
  "pwrite64",
  "ftruncate",
] as const;
/** In this share of the strikes the server is killed on its way to its first line. */
const AT_START_SHARE = 0.2;

/** How many calls the main thread makes until it serves, and in a run under load. */
type Counts = Record<Call, { start: number; total: number }>;

interface Totals extends WorkloadStats {
  failures: string[];
  ready_ms: number[];
  frames: number;
}

/** A kill takes nothing that the kernel has: in memory the load is denser, on a disk the waits are those of users. */
const ROOTS = [tmpdir(), existsSync("/dev/shm") ? "/dev/shm" : tmpdir()];

class Store {
  readonly data_dir: string;
  #workload: Workload | null = null;
  #server: Server | null = null;
  kills = 0;

  constructor(root: string) {
    this.data_dir = mkdtempSync(join(root, "synthetic-kill-"));
  }

  get workload(): Workload {
    if (this.#workload === null) throw new Error("the store was not prepared");
    return this.#workload;
  }

  get is_prepared(): boolean {
    return this.#workload !== null;
  }

  async start(wrapper: string[] = [], env: Record<string, string> = ENV): Promise<Server> {
    const words = [...WITH_PARENT, ...(wrapper.length === 0 ? [] : [...wrapper, ...WITH_PARENT])];
    this.#server = await startServer({ data_dir: this.data_dir, env, wrapper: words });
    return this.#server;
  }

  async prepare(): Promise<void> {
    const server = await this.start();
    this.#workload = await createWorkload(server);
    await server.stop("SIGKILL");
  }

  async remove(): Promise<void> {
    await this.#server?.stop("SIGKILL");
    endLeftover(this.data_dir);
    rmSync(this.data_dir, { recursive: true, force: true });
  }
}

/** A server that outlived its strace: known by the record that it left in its own directory. */
function endLeftover(data_dir: string): void {
  try {
    const { pid } = JSON.parse(readFileSync(join(data_dir, "server.json"), "utf8")) as { pid: number };
    const is_ours = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(data_dir);
    if (is_ours) process.kill(pid, "SIGKILL");
  } catch {
    // There is none.
  }
}

function straceOf(log: string, inject: string[]): string[] {
  const program = tool("strace");
  if (program === null) throw new Error("there is no strace here");
  return [program, "-f", "-qq", "-o", log, "-e", `trace=${CALLS.join(",")}`, ...inject];
}

async function underLoad(store: Store, server: Server, random: Random, load_ms: number): Promise<void> {
  const loaded = store.workload.run(server, random);
  await Promise.race([server.process.exited, Bun.sleep(load_ms)]);
  await server.stop("SIGKILL");
  await loaded;
}

async function killAtRandom(store: Store, random: Random, load_ms: number): Promise<boolean> {
  const server = await store.start();
  await underLoad(store, server, random, 20 + random.int(random.chance(0.5) ? load_ms / 5 : load_ms));
  return true;
}

/** The calls of the main thread, from a run in which it is not killed at one. */
async function countCalls(store: Store, random: Random, load_ms: number): Promise<Counts> {
  const log = `${store.data_dir}.strace`;
  const count = async (ms: number): Promise<Map<string, number>> => {
    const server = await store.start(straceOf(log, []));
    await underLoad(store, server, random, ms);
    const counts = new Map<string, number>();
    for (const line of readFileSync(log, "latin1").split("\n")) {
      const [thread, call = ""] = line.split(/[ (]+/);
      if (Number(thread) === server.pid) counts.set(call, (counts.get(call) ?? 0) + 1);
    }
    return counts;
  };
  try {
    const [start, total] = [await count(0), await count(load_ms)];
    const of = (call: Call) => ({ start: start.get(call) ?? 0, total: Math.max(total.get(call) ?? 0, 1) });
    return { pwrite64: of("pwrite64"), fsync: of("fsync"), ftruncate: of("ftruncate") };
  } finally {
    rmSync(log, { force: true });
  }
}

/** Runs until strace kills the server at one of its calls; tells whether that came before the time was over. */
async function killAtCall(
  store: Store,
  random: Random,
  load_ms: number,
  call: Call,
  counts: Counts,
): Promise<boolean> {
  const { start, total } = counts[call];
  const at_start = start > 0 && random.chance(AT_START_SHARE);
  const number = 1 + random.int(at_start ? start : total);
  const wrapper = straceOf("/dev/null", ["-e", `inject=${call}:signal=KILL:when=${number}`]);
  let server: Server;
  try {
    server = await store.start(wrapper);
  } catch (error) {
    // Killed before its first line. A server that cannot start says why, and so will the next one.
    if (error instanceof Error && /"level":"error"|^error/m.test(error.message)) throw error;
    return true;
  }
  const loaded = store.workload.run(server, random);
  const killed = await Promise.race([
    server.process.exited.then(() => true),
    Bun.sleep(load_ms * 2).then(() => false),
  ]);
  await server.stop("SIGKILL");
  await loaded;
  return killed;
}

/** What SQLite says of what the kill left, and how much is in frames. Looks at a copy: looking changes the log. */
function inspect(data_dir: string): { faults: string[]; frames: number } {
  const copy = mkdtempSync(join(tmpdir(), "synthetic-kill-copy-"));
  try {
    // Another process copies: a descriptor of ours would drop SQLite's locks (facts 1).
    Bun.spawnSync(["cp", ...["synthetic.db", "synthetic.db-wal"].map((file) => join(data_dir, file)), copy]);
    const db = new Database(join(copy, "synthetic.db"), { readwrite: true, create: false });
    const rows = ["integrity_check", "foreign_key_check"].flatMap((name) =>
      db.query(`PRAGMA ${name}`).values().flat(),
    );
    const frames = Number(db.query("SELECT count(*) FROM frame").values()[0]?.[0]);
    db.close(true);
    return {
      faults: rows.length === 1 && rows[0] === "ok" ? [] : rows.map((row) => `integrity: ${String(row)}`),
      frames,
    };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

/** From the start of the process until it says that it is ready. */
async function startAgain(store: Store, totals: Totals): Promise<Server> {
  const began = performance.now();
  const server = await store.start();
  const { status } = await server.call("GET", "/readyz");
  totals.ready_ms.push(performance.now() - began);
  if (status !== 200) totals.failures.push(`/readyz answers ${status} after the start`);
  return server;
}

/** One kill and what is found after it. */
async function strike(
  store: Store,
  totals: Totals,
  where: string,
  kill: () => Promise<boolean>,
): Promise<boolean> {
  const killed = await kill();
  store.kills += 1;
  const { faults, frames } = inspect(store.data_dir);
  totals.frames = Math.max(totals.frames, frames);
  const server = await startAgain(store, totals);
  faults.push(...(await store.workload.verify(server)));
  // The next run begins where this left off: with a log that was never moved.
  await server.stop("SIGKILL");
  totals.failures.push(...faults.slice(0, 20).map((fault) => `${where}: ${fault}`));
  return killed;
}

function addStats(totals: Totals, { stats }: Workload): void {
  for (const name of ["requests", "entries", "bytes", "found", "not_found"] as const)
    totals[name] += stats[name];
}

function readyFaults({ ready_ms }: Totals): string[] {
  const slow = ready_ms.filter((ms) => ms > READY_MS).length;
  return slow > Math.max(1, ready_ms.length * SLOW_SHARE)
    ? [`${slow} of ${ready_ms.length} starts took longer than ${READY_MS} ms`]
    : [];
}

function notesOf(totals: Totals): Record<string, number> {
  const ready = totals.ready_ms.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(ready[Math.min(ready.length - 1, Math.floor(ready.length * share))] ?? 0);
  return {
    acknowledged_requests: totals.requests,
    acknowledged_entries: totals.entries,
    mebibytes: Math.round(totals.bytes / 2 ** 20),
    unanswered_stored: totals.found,
    unanswered_not_stored: totals.not_found,
    most_frames: totals.frames,
    ready_p50_ms: at(0.5),
    ready_p99_ms: at(0.99),
    ready_max_ms: at(1),
    ready_over_1_s: ready.filter((ms) => ms > READY_MS).length,
  };
}

class Campaign {
  readonly totals: Totals = {
    failures: [],
    ready_ms: [],
    frames: 0,
    requests: 0,
    entries: 0,
    bytes: 0,
    found: 0,
    not_found: 0,
  };
  readonly killed: Record<Call | "random", number> = { random: 0, pwrite64: 0, fsync: 0, ftruncate: 0 };
  /** Calls that were not reached in time: no cases of their own. */
  missed = 0;
  readonly #random: Random;
  readonly #plan: (typeof SIZES)[CampaignOptions["size"]];
  readonly #log: CampaignOptions["log"];
  #counts: Counts | null = null;
  #store: Store | null = null;
  #strikes = 0;
  #stores = 0;

  constructor({ seed, size, log }: CampaignOptions) {
    this.#random = createRandom(seed);
    this.#plan = SIZES[size];
    this.#log = log;
  }

  get chosen(): number {
    return CALLS.reduce((sum, call) => sum + this.killed[call], 0);
  }

  /** What comes next: a call, null for a random moment, undefined when there is nothing left to do. */
  #next(): Call | null | undefined {
    const { random, chosen } = this.#plan;
    const wants_call = this.chosen < chosen && this.missed <= chosen / 2;
    const wants_random = this.killed.random < random;
    if (!wants_call && !wants_random) return undefined;
    if (!wants_call || (wants_random && this.#strikes % 2 === 0)) return null;
    return TURNS[this.chosen % TURNS.length];
  }

  /** A directory with a history of some kills, and now and then a new one. */
  async #prepared(): Promise<{ store: Store; counts: Counts }> {
    if (this.#store === null) {
      this.#store = new Store(ROOTS[this.#stores % ROOTS.length] ?? tmpdir());
      this.#stores += 1;
      this.#counts = null;
      await this.#store.prepare();
    }
    if (this.#counts === null) {
      this.#counts = await countCalls(this.#store, this.#random, this.#plan.load_ms);
      this.#log(`calls until it serves, and in a run under load: ${JSON.stringify(this.#counts)}`);
    }
    return { store: this.#store, counts: this.#counts };
  }

  async strikeAll(): Promise<void> {
    const { load_ms, kills_a_store } = this.#plan;
    for (let call = this.#next(); call !== undefined; call = this.#next()) {
      const { store, counts } = await this.#prepared();
      const chosen = call;
      const done = await strike(store, this.totals, `kill ${this.#strikes} (${call ?? "random"})`, () =>
        chosen === null
          ? killAtRandom(store, this.#random, load_ms)
          : killAtCall(store, this.#random, load_ms, chosen, counts),
      );
      if (done) this.killed[call ?? "random"] += 1;
      else this.missed += 1;
      if (store.kills >= kills_a_store) await this.endStore();
      this.#strikes += 1;
      if (this.#strikes % 20 === 0)
        this.#log(
          `${this.killed.random} random kills, ${this.chosen} at chosen calls, ${this.totals.failures.length} failures`,
        );
    }
    if (this.chosen < this.#plan.chosen)
      this.totals.failures.push(`only ${this.chosen} of ${this.#plan.chosen} chosen calls were reached`);
  }

  async endStore(): Promise<void> {
    const store = this.#store;
    this.#store = null;
    if (store?.is_prepared === true) addStats(this.totals, store.workload);
    await store?.remove();
  }
}

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const campaign = new Campaign(options);
  const { totals, killed } = campaign;
  try {
    await campaign.strikeAll();
  } catch (error) {
    totals.failures.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    await campaign.endStore();
  }
  const by_call = Object.entries(killed).map(([name, count]) => [`killed_at_${name}`, count] as const);
  return {
    cases: killed.random + campaign.chosen,
    failures: [...totals.failures, ...readyFaults(totals)],
    notes: { ...notesOf(totals), ...Object.fromEntries(by_call), calls_not_reached: campaign.missed },
  };
}

// ---------------------------------------------------------------- the control

/** What a store that forgets could do to the last two rows of a session. Its heads fit again afterwards. */
const DAMAGES: Record<string, (db: Database, where: { pk: number; last_seq: number }) => void> = {
  changed: (db, where) =>
    void db
      .query(
        `UPDATE entry SET body = replace(body, '"number":', '"numbed":') WHERE session = $pk AND seq = $last_seq`,
      )
      .run(where),
  lost: (db, where) => void db.query("DELETE FROM entry WHERE session = $pk AND seq = $last_seq").run(where),
  doubled: (db, where) =>
    void db
      .query(
        `INSERT INTO entry (session, seq, kind, actor, at_ms, received_at_ms, key, body)
         SELECT session, seq + 1, kind, actor, at_ms, received_at_ms, key, body FROM entry WHERE session = $pk AND seq = $last_seq`,
      )
      .run(where),
  reordered(db, { pk, last_seq }) {
    const move = db.query("UPDATE entry SET seq = $to WHERE session = $pk AND seq = $from");
    for (const [from, to] of [
      [last_seq, 0],
      [last_seq - 1, last_seq],
      [0, last_seq - 1],
    ] as const)
      move.run({ pk, from, to });
  },
};

/** Makes the head that of the rows, from a seq on whose head is known. */
function mendHead(db: Database, pk: number, known: { seq: number; head: string }): void {
  let { seq, head } = known;
  const rows = db
    .query<Sent & { seq: number }, { pk: number; seq: number }>(
      "SELECT seq, at_ms, body FROM entry WHERE session = $pk AND seq > $seq ORDER BY seq",
    )
    .all({ pk, seq });
  for (const row of rows) {
    head = headBehind(head, row.seq, row);
    ({ seq } = row);
  }
  db.query("UPDATE session_head SET last_seq = $seq, head = $head WHERE session = $pk").run({
    pk,
    seq,
    head: Buffer.from(head, "hex"),
  });
}

interface Victim {
  id: string;
  /** By seq. */
  heads: string[];
}

/** A session of one writer with at least two rows that are not sealed; writes until there is one. */
async function findVictim(store: Store, random: Random): Promise<Victim> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const server = await store.start([], { SYNTHETIC_SEAL_IDLE_MS: "600000" });
    const loaded = store.workload.run(server, random);
    await Bun.sleep(200);
    store.workload.stop();
    await loaded;
    const heads = new Map<string, string[]>();
    for (const id of store.workload.session_ids) heads.set(id, (await fetchTranscript(server, id)).heads);
    await server.stop("SIGTERM");
    const db = new Database(join(store.data_dir, "synthetic.db"), { readonly: true });
    const unsealed = db
      .query<{ id: string }, []>(
        "SELECT s.id FROM session s JOIN session_head h ON h.session = s.pk WHERE h.last_seq >= h.sealed_through_seq + 2",
      )
      .all();
    db.close(true);
    const found = unsealed.find(({ id }) => heads.has(id));
    if (found !== undefined) return { id: found.id, heads: heads.get(found.id) ?? [] };
  }
  throw new Error("there is no session with rows");
}

function damage(data_dir: string, { id, heads }: Victim, name: string): void {
  const db = new Database(join(data_dir, "synthetic.db"), { readwrite: true, create: false, strict: true });
  const pk = Number(db.query("SELECT pk FROM session WHERE id = $id").values({ id })[0]?.[0]);
  const last_seq = heads.length - 1;
  DAMAGES[name]?.(db, { pk, last_seq });
  mendHead(db, pk, { seq: last_seq - 2, head: heads[last_seq - 2] ?? NO_HEAD });
  db.close(true);
}

/** Four stores that are whole for SQLite and by their own heads, and not what was acknowledged: each has to fail. */
export async function control({ seed, log }: CampaignOptions): Promise<CampaignResult> {
  const random = createRandom(seed);
  const store = new Store(tmpdir());
  const failures: string[] = [];
  const names = Object.keys(DAMAGES);
  try {
    await store.prepare();
    const victim = await findVictim(store, random);
    Bun.spawnSync(["cp", "-a", store.data_dir, `${store.data_dir}-whole`]);
    for (const name of names) {
      rmSync(store.data_dir, { recursive: true });
      Bun.spawnSync(["cp", "-a", `${store.data_dir}-whole`, store.data_dir]);
      damage(store.data_dir, victim, name);
      const server = await store.start();
      const faults = [...(await store.workload.verify(server)), ...inspect(store.data_dir).faults];
      await server.stop("SIGKILL");
      failures.push(...faults.map((fault) => `${name}: ${fault}`));
      log(`${name}: ${faults.length} faults`);
    }
  } finally {
    await store.remove();
    rmSync(`${store.data_dir}-whole`, { recursive: true, force: true });
  }
  return { cases: names.length, failures, notes: {} };
}
