/**
 * kill -9 at random moments and at chosen system calls, under a mixed load of artifacts with garbage collection without
 * grace. After each the server is started again on the same directory: every acknowledged byte is there, nothing is half
 * there, appending goes on, and once garbage is collected the folder holds what the rows name and nothing else. Without
 * a kill, but as close to the edge: bytes that are deleted, collected and stored again just when the plain copy of their
 * compressed file is due to go.
 */
import { cpSync, existsSync, mkdtempSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { limit } from "../../src/limits.ts";
import type { GarbageReport } from "../../src/schema/gc.ts";
import { type ArtifactLoad, createArtifactLoad } from "../support/artifact-load.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { json, type Server, startServer } from "../support/server.ts";
import { WITH_PARENT } from "../support/verify.ts";

const SIZES = {
  short: { random: 2, chosen: 3, again: 0 },
  full: { random: 100, chosen: 100, again: 64 },
};
/** The load before a random kill, and the time that a chosen call has to come. */
const LOAD_MS = { short: 600, full: 1_200 };
const CALL_MS = { short: 1_000, full: 2_500 };
/** A chosen call may not come in its time: this share of them must. */
const REACHED_SHARE = 0.4;

/**
 * Where the server is killed, as strace names the calls, and how many of them a thread makes in a second or so: strace
 * counts each thread by itself.
 */
const CALLS = [
  { calls: "pwrite64", count: 150 },
  { calls: "fsync", count: 60 },
  { calls: "fdatasync", count: 20 },
  { calls: "rename,renameat,renameat2", count: 20 },
  { calls: "link,linkat", count: 3 },
  { calls: "unlink,unlinkat", count: 30 },
] as const;
type Call = (typeof CALLS)[number];

/** The end comes on entering the call that is counted so: what came before it is done, and it is not. */
function straceOf({ calls }: Call, count: number): string[] {
  const inject = `inject=${calls}:signal=KILL:when=${count}`;
  return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", `trace=${calls}`, "-e", inject];
}

interface Store {
  data_dir: string;
  load: ArtifactLoad;
}

async function newStore(): Promise<Store> {
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-artifact-kill-"));
  const server = await startServer({ data_dir, wrapper: [...WITH_PARENT] });
  const load = await createArtifactLoad(server);
  await server.stop("SIGKILL");
  return { data_dir, load };
}

/** Runs the load until the server is killed at a random moment. */
async function killAtRandom({ data_dir, load }: Store, random: Random, most_ms: number): Promise<void> {
  const server = await startServer({ data_dir, wrapper: [...WITH_PARENT] });
  const loaded = load.run(server, random);
  await Bun.sleep(30 + random.int(random.chance(0.3) ? most_ms : most_ms / 4));
  await server.stop("SIGKILL");
  load.stop();
  await loaded;
}

/** Runs the load until strace kills the server at its call, which may be before it serves; gives whether it was. */
async function killAtCall(
  { data_dir, load }: Store,
  random: Random,
  call: Call,
  most_ms: number,
): Promise<boolean> {
  const count = 1 + random.int(random.chance(0.5) ? Math.ceil(call.count / 5) : call.count);
  let server: Server;
  try {
    server = await startServer({ data_dir, wrapper: [...straceOf(call, count), ...WITH_PARENT] });
  } catch {
    return true;
  }
  const loaded = load.run(server, random);
  const killed = await Promise.race([
    server.process.exited.then(() => true),
    Bun.sleep(most_ms).then(() => false),
  ]);
  load.stop();
  if (!killed) await server.stop("SIGKILL");
  await loaded;
  return killed;
}

// ---------------------------------------------------------------- stored again

/** How many do so at once, and how long before and after the copy's end. */
const AGAIN_LANES = 8;
const AGAIN_MS = { before: 30, after: 10 };
const COMPRESSED_MS = 10_000;

interface Told {
  id: string;
  encoding: string | null;
}

/** Stores, waits for the compressed file, deletes and collects, stores again; gives what is wrong with it afterwards. */
async function storeAgain(
  server: Server,
  construct_id: string,
  text: string,
  random: Random,
): Promise<string[]> {
  const path = `/v1/artifacts?construct_id=${construct_id}&type=log`;
  const upload = (): Promise<Told> =>
    json<Told>(server.call("POST", path, text, { "content-type": "text/plain" }));
  const first = await upload();
  const began = performance.now();
  for (let encoding = first.encoding; encoding !== "zstd"; await Bun.sleep(1)) {
    if (performance.now() - began > COMPRESSED_MS) return [`artifact ${first.id} is not compressed`];
    ({ encoding } = await json<Told>(server.call("GET", `/v1/artifacts/${first.id}`)));
  }
  const due_ms = performance.now() + limit("plain_copy_ms");
  await server.call("DELETE", `/v1/artifacts/${first.id}`, undefined, { "if-match": "*" });
  await Bun.sleep(20);
  await json(server.call("POST", "/v1/gc?grace_ms=0"));
  const at_ms = due_ms - AGAIN_MS.before + random.int(AGAIN_MS.before + AGAIN_MS.after);
  await Bun.sleep(Math.max(0, at_ms - performance.now()));
  const { id } = await upload();
  await Bun.sleep(300);
  const answer = await server.call("GET", `/v1/artifacts/${id}/content`, undefined, {
    "accept-encoding": "identity",
  });
  const found = await answer.text();
  return found === text ? [] : [`stored again, ${id} is lost: ${answer.status} ${found.slice(0, 200)}`];
}

async function storeAgainOften(count: number, random: Random): Promise<string[]> {
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-artifact-again-"));
  const server = await startServer({ data_dir, wrapper: [...WITH_PARENT] });
  const failures: string[] = [];
  try {
    const { id } = await json<{ id: string }>(server.call("POST", "/v1/constructs", { title: "again" }));
    for (let done = 0; done < count; done += AGAIN_LANES) {
      const lanes = Array.from({ length: AGAIN_LANES }, (_, lane) => {
        const text = `artifact ${done + lane}\n${"a line of a log\n".repeat(1_000 + random.int(40_000))}`;
        return storeAgain(server, id, text, random);
      });
      failures.push(...(await Promise.all(lanes)).flat());
    }
    const { missing } = await json<GarbageReport>(server.call("POST", "/v1/gc?dry_run=true"));
    failures.push(...missing.map((row) => `stored again: gc says missing: ${JSON.stringify(row)}`));
  } finally {
    await server.stop("SIGKILL");
    rmSync(data_dir, { recursive: true, force: true });
  }
  return failures;
}

// ---------------------------------------------------------------- the campaign and its control

export async function run({ seed, size, log }: CampaignOptions): Promise<CampaignResult> {
  const random = createRandom(seed);
  const { random: random_count, chosen, again } = SIZES[size];
  const kinds: (Call | null)[] = [
    ...Array<null>(random_count).fill(null),
    // Another one first with every seed: the short size has only some of them.
    ...Array.from({ length: chosen }, (_, index) => CALLS[(seed + index) % CALLS.length] ?? null),
  ];
  const failures: string[] = [];
  let reached = 0;
  const store = await newStore();
  try {
    for (const [index, call] of kinds.entries()) {
      if (call === null) await killAtRandom(store, random, LOAD_MS[size]);
      else if (await killAtCall(store, random, call, CALL_MS[size])) reached += 1;
      const server = await startServer({ data_dir: store.data_dir, wrapper: [...WITH_PARENT] });
      const found = await store.load.verify(server, store.data_dir);
      await server.stop("SIGKILL");
      failures.push(...found.map((failure) => `kill ${index} (${call?.calls ?? "random"}): ${failure}`));
      if (index % 20 === 19) log(`${index + 1} of ${kinds.length} kills, ${failures.length} failures`);
    }
  } finally {
    rmSync(store.data_dir, { recursive: true, force: true });
  }
  if (reached < chosen * REACHED_SHARE)
    failures.push(`only ${reached} of ${chosen} chosen calls were reached`);
  if (again > 0) failures.push(...(await storeAgainOften(again, random)));
  const notes = { killed_at_call: reached, stored_again: again, ...store.load.stats };
  return { cases: kinds.length + again, failures, notes };
}

/** What is done to a file that was acknowledged while the server is stopped. */
const DAMAGES = {
  nothing: () => undefined,
  "whole removed": (path: string) => rmSync(path),
  "whole cut": (path: string) => truncateSync(path, statSync(path).size - 1),
  "growing removed": (path: string) => rmSync(path),
  "growing cut": (path: string) => truncateSync(path, statSync(path).size - 1),
} satisfies Record<string, (path: string) => void>;

/** Works until there is something to damage, and ends the server well. */
async function fill(store: Store, random: Random): Promise<{ whole: string; growing: string }> {
  for (let attempt = 1; ; attempt += 1) {
    const server = await startServer({ data_dir: store.data_dir, wrapper: [...WITH_PARENT] });
    const loaded = store.load.run(server, random);
    await Bun.sleep(250);
    store.load.stop();
    await loaded;
    await server.stop("SIGTERM");
    try {
      return store.load.somePaths();
    } catch (error) {
      if (attempt === 20) throw error;
    }
  }
}

/**
 * The control: acknowledged files are damaged, each in a copy of one store. Gives the damages that the verification
 * does not see; `nothing` when it sees one where there is none.
 */
export async function control({ seed }: CampaignOptions): Promise<string[]> {
  const store = await newStore();
  const copy = `${store.data_dir}-copy`;
  const missed: string[] = [];
  try {
    const paths = await fill(store, createRandom(seed));
    for (const [name, damage] of Object.entries(DAMAGES)) {
      cpSync(store.data_dir, copy, { recursive: true });
      const path = join(copy, name.startsWith("whole") ? paths.whole : paths.growing);
      damage(existsSync(path) ? path : `${path}.zst`);
      const server = await startServer({ data_dir: copy, wrapper: [...WITH_PARENT] });
      const faults = await store.load.verify(server, copy);
      await server.stop("SIGKILL");
      rmSync(copy, { recursive: true });
      if ((faults.length === 0) !== (name === "nothing")) missed.push(name);
    }
  } finally {
    for (const path of [store.data_dir, copy]) rmSync(path, { recursive: true, force: true });
  }
  return missed;
}
