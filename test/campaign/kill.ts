/**
 * kill -9 at random moments and at chosen system calls, under mixed load with sealing and merging. After each the
 * server is started again on the same directory: nothing acknowledged is lost, doubled or reordered, heads verify,
 * and it is ready within a second.
 */
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { type Server, startServer } from "../support/server.ts";
import { createWorkload, type Workload } from "../support/workload.ts";

const SIZES = {
  short: { random: 3, chosen: 3, kills_a_store: 6 },
  full: { random: 200, chosen: 200, kills_a_store: 25 },
};
const ENV = { SYNTHETIC_SEAL_IDLE_MS: "60" };
const READY_MS = 1_000;
/** Of a noisy machine: the share of starts that may take longer than READY_MS. */
const SLOW_SHARE = 0.02;

/** How many calls of each kind a run of a second makes: the K-th is where it is killed. */
const CALLS = { pwrite64: 900, fsync: 220, ftruncate: 3 } as const;
type Call = keyof typeof CALLS;

function straceOf(call: Call, count: number): string[] {
  return [
    "strace",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    `trace=${call}`,
    "-e",
    `inject=${call}:signal=KILL:when=${count}`,
  ];
}

interface Store {
  data_dir: string;
  workload: Workload;
}

async function newStore(): Promise<Store> {
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-kill-"));
  const server = await startServer({ data_dir, env: ENV });
  const workload = await createWorkload(server);
  await server.stop("SIGKILL");
  return { data_dir, workload };
}

/** Runs the load until the server is killed at a random moment. */
async function killAtRandom({ data_dir, workload }: Store, random: Random): Promise<void> {
  const server = await startServer({ data_dir, env: ENV });
  const loaded = workload.run(server, random);
  await Bun.sleep(30 + random.int(random.chance(0.2) ? 2_500 : 500));
  await server.stop("SIGKILL");
  await loaded;
}

/** Runs the load until strace kills the server at its K-th call, which may be before it serves; gives whether it was. */
async function killAtCall({ data_dir, workload }: Store, random: Random, call: Call): Promise<boolean> {
  const wrapper = straceOf(
    call,
    1 + random.int(random.chance(0.5) ? Math.ceil(CALLS[call] / 20) : CALLS[call]),
  );
  let server: Server;
  try {
    server = await startServer({ data_dir, env: ENV, wrapper });
  } catch {
    return true;
  }
  const loaded = workload.run(server, random);
  const killed = await Promise.race([
    server.process.exited.then(() => true),
    Bun.sleep(3_000).then(() => false),
  ]);
  workload.stop();
  if (!killed) await server.stop("SIGKILL");
  await loaded;
  return killed;
}

function integrity(data_dir: string): string[] {
  const db = new Database(join(data_dir, "synthetic.db"));
  const rows = [
    ...db.query("PRAGMA integrity_check").values(),
    ...db.query("PRAGMA foreign_key_check").values(),
  ].flat();
  db.close();
  return rows.length === 1 && rows[0] === "ok" ? [] : [`integrity: ${rows.join("; ")}`];
}

export async function run({ seed, size, log }: CampaignOptions): Promise<CampaignResult> {
  const random = createRandom(seed);
  const { random: random_count, chosen, kills_a_store } = SIZES[size];
  const kinds = [
    ...Array<null>(random_count).fill(null),
    ...Array.from(
      { length: chosen },
      (_, index) => (["pwrite64", "fsync", "pwrite64", "ftruncate"] as const)[index % 4] ?? "fsync",
    ),
  ];
  const failures: string[] = [];
  const ready: number[] = [];
  let killed_at_call = 0;
  let store: Store | null = null;
  let acknowledged = 0;
  for (const [index, call] of kinds.entries()) {
    store ??= await newStore();
    if (call === null) await killAtRandom(store, random);
    else if (await killAtCall(store, random, call)) killed_at_call += 1;
    const server = await startServer({ data_dir: store.data_dir, env: ENV });
    ready.push(server.started_in_ms);
    failures.push(
      ...(await store.workload.verify(server)).map(
        (failure) => `kill ${index} (${call ?? "random"}): ${failure}`,
      ),
    );
    if (index % kills_a_store === kills_a_store - 1 || index === kinds.length - 1) {
      await server.stop("SIGTERM");
      failures.push(...integrity(store.data_dir).map((failure) => `kill ${index}: ${failure}`));
      rmSync(store.data_dir, { recursive: true });
      acknowledged += store.workload.acknowledged_count;
      store = null;
    } else {
      await server.stop("SIGKILL");
    }
    if (index % 20 === 19) log(`${index + 1} of ${kinds.length} kills, ${failures.length} failures`);
  }
  ready.sort((a, b) => a - b);
  const slow = ready.filter((ms) => ms > READY_MS).length;
  if (slow > Math.max(1, ready.length * SLOW_SHARE))
    failures.push(`${slow} of ${ready.length} starts took longer than ${READY_MS} ms`);
  if (chosen > 0 && killed_at_call < chosen / 3)
    failures.push(`only ${killed_at_call} of ${chosen} chosen calls were reached`);
  return {
    cases: kinds.length,
    failures,
    notes: {
      acknowledged_requests: acknowledged,
      killed_at_call,
      ready_p50_ms: Math.round(ready[Math.floor(ready.length / 2)] ?? 0),
      ready_max_ms: Math.round(ready.at(-1) ?? 0),
      slow_starts: slow,
    },
  };
}

/** The control: a row is taken out of a stopped store. True when the verification sees it. */
export async function seesLoss(seed: number): Promise<boolean> {
  const store = await newStore();
  try {
    const server = await startServer({ data_dir: store.data_dir });
    const loaded = store.workload.run(server, createRandom(seed));
    await Bun.sleep(300);
    store.workload.stop();
    await loaded;
    await server.stop("SIGTERM");
    const db = new Database(join(store.data_dir, "synthetic.db"));
    db.run(
      "UPDATE entry SET body = replace(body, 'fix', 'fax') WHERE id = (SELECT max(id) FROM entry WHERE body LIKE '%fix%')",
    );
    db.close();
    const again = await startServer({ data_dir: store.data_dir });
    const failures = await store.workload.verify(again);
    await again.stop("SIGKILL");
    return failures.length > 0;
  } finally {
    rmSync(store.data_dir, { recursive: true, force: true });
  }
}
