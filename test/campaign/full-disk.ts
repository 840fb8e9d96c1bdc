/**
 * A full disk, in two ways: a page limit that strikes in the middle of group commits of a store in this process, and
 * a compiled server on a filesystem of a few mebibytes. What was acknowledged is there, what was refused is not, not
 * even in part; reads go on; and writing goes on as soon as there is room, without a restart.
 */
import { Database } from "bun:sqlite";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../src/errors.ts";
import { system_ids } from "../../src/lib/ids.ts";
import type { AppendResult } from "../../src/schema/entry.ts";
import { limit } from "../../src/limits.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import {
  checkReads,
  checkStore,
  Ledger,
  type LimitedStore,
  makeMember,
  noise,
  openLimitedStore,
  tellAll,
} from "../support/limited-store.ts";
import { json, makeSession, type Server, startServer } from "../support/server.ts";
import { mountSmallDisk, type SmallDisk } from "../support/small-disk.ts";
import { newSession } from "../support/store.ts";
import { fetchTranscript } from "../support/transcript.ts";

// ---------------------------------------------------------------- the store in this process

interface Counts {
  rounds: number;
  members: number;
  struck: number;
  torn_groups: number;
}

/** One tick full of writes with room for only some of them. */
async function strike(
  store: LimitedStore,
  ledger: Ledger,
  random: Random,
  name: string,
  sessions: readonly string[],
  counts: Counts,
  lie: boolean,
): Promise<void> {
  const { context } = store;
  const rows_only = random.chance(0.4);
  const members = Array.from({ length: 2 + random.int(rows_only ? 120 : 60) }, (_, index) =>
    makeMember(random, `${name}.${index}`, sessions, [...ledger.constructs.keys()], rows_only),
  );
  store.limitPages(random.int(rows_only ? 120 : 400));
  const told = await tellAll(context, members);
  const refused = told.filter(({ result }) => result === null);
  counts.rounds += 1;
  counts.members += members.length;
  if (refused.length > 0) counts.struck += 1;
  if (rows_only) checkGroups(ledger, told, name);
  if (refused.length > 0 && refused.length < members.length) counts.torn_groups += 1;
  for (const one of told)
    ledger.note(
      lie && one.code === "storage_full" && one.member.kind === "append"
        ? { ...one, result: { first_seq: 1_000_000 + counts.members, replayed: false } as AppendResult }
        : one,
    );
  await checkReads(context, ledger, sessions);
  // Sealing needs room too; whatever becomes of it, nothing may be lost.
  if (random.chance(0.3))
    await context.store.entries.sealAll().catch((error: unknown) => {
      if (!(error instanceof Problem) || error.code !== "storage_full")
        ledger.fail(`${name}: sealing on a full disk: ${String(error)}`);
    });
  const creates = refused.flatMap(({ member }) => (member.kind === "create" ? [member.id] : []));
  await checkStore(context, ledger, sessions, creates, `${name}, full`);

  store.limitPages(null);
  // The refused ones again: now they go through, as new ones.
  for (const one of await tellAll(
    context,
    refused.map(({ member }) => member),
  )) {
    if (one.result === null)
      ledger.fail(`${name}: with room again: ${one.member.kind} was refused with ${one.code}: ${one.detail}`);
    else if (!lie) ledger.note(one);
  }
  const failure = await store.failure();
  if (failure !== null) ledger.fail(`${name}: the writer gave up: ${failure}`);
}

/** One tick of rows is cut into groups, each of which is stored whole or not at all. */
function checkGroups(ledger: Ledger, told: readonly { result: unknown }[], name: string): void {
  const size = limit("writer_group_count");
  for (let from = 0; from < told.length; from += size) {
    const group = told.slice(from, from + size);
    const refused_count = group.filter(({ result }) => result === null).length;
    if (refused_count > 0 && refused_count < group.length)
      ledger.fail(
        `${name}: of one group ${group.length - refused_count} were acknowledged and ${refused_count} refused`,
      );
  }
}

function checkFile(path: string): string[] {
  const db = new Database(path, { readonly: true });
  try {
    const found = db.query("PRAGMA integrity_check").values().flat();
    const foreign = db.query("PRAGMA foreign_key_check").values();
    return [
      ...(found.length === 1 && found[0] === "ok" ? [] : [`integrity_check: ${found.join("; ")}`]),
      ...(foreign.length === 0 ? [] : [`foreign_key_check: ${foreign.length} rows`]),
    ];
  } finally {
    db.close(true);
  }
}

async function strikeStore({ seed, size, log }: CampaignOptions, lie = false): Promise<CampaignResult> {
  const data_dir = mkdtempSync(join(tmpdir(), "synthetic-full-"));
  const ledger = new Ledger();
  const counts: Counts = { rounds: 0, members: 0, struck: 0, torn_groups: 0 };
  const random = createRandom(seed);
  try {
    const store = await openLimitedStore(data_dir);
    try {
      const sessions: string[] = [];
      for (let index = 0; index < 5; index += 1) sessions.push((await newSession(store.context)).id);
      const rounds = lie ? 2 : size === "full" ? 200 : 10;
      for (let round = 0; round < rounds && ledger.failures.length < 20; round += 1) {
        await strike(store, ledger, random, `round${round}`, sessions, counts, lie);
        if (round % 10 === 9) {
          await store.context.store.entries.sealAll();
          await checkStore(store.context, ledger, sessions, [], `round${round}, sealed`);
        }
        if (round % 25 === 24) {
          await store.reopen();
          await checkStore(store.context, ledger, sessions, [], `round${round}, opened again`);
          // A long history makes every later check slow.
          for (let index = 0; index < sessions.length; index += 1)
            sessions[index] = (await newSession(store.context)).id;
        }
      }
      await checkStore(store.context, ledger, sessions, [], "at the end");
    } finally {
      await store.close();
    }
    ledger.failures.push(...checkFile(join(data_dir, "synthetic.db")));
    log(
      `full-disk: ${counts.rounds} rounds on a page limit, ${ledger.acknowledged} acknowledged, ${ledger.refused} refused`,
    );
    return {
      cases: counts.members,
      failures: ledger.failures,
      notes: {
        limit_rounds: counts.rounds,
        limit_rounds_full: counts.struck,
        limit_mixed_rounds: counts.torn_groups,
        limit_acknowledged: ledger.acknowledged,
        limit_refused: ledger.refused,
        limit_log_lines: store.log_lines.length,
      },
    };
  } finally {
    rmSync(data_dir, { recursive: true, force: true });
  }
}

// ---------------------------------------------------------------- the server on a small filesystem

/**
 * A checkpoint copies the log into the file before the log can be used again, so this much must come free at least:
 * the pages after which a checkpoint is due where room is low (limits.ts), and some more for the last commit.
 */
const RECOVERY_BYTES = 2 ** 20;
/** Refusals in a row, of one kind of write, after which the disk is full for that kind. */
const FULL_IN_A_ROW = 6;
const RECOVERY_MS = 5_000;
const MANY_WRITES = 20_000;

interface Writing {
  session_id: string;
  /** Bodies that were acknowledged, by seq. */
  bodies: Map<number, string>;
  last_seq: number;
}

/** One write of some kind; gives the status of its answer. */
type Write = (random: Random) => Promise<number>;

/** A server on a small disk, and all that it acknowledged. */
interface Filling {
  server: Server;
  writings: Writing[];
  constructs: string[];
  failures: string[];
}

async function startFilling(data_dir: string, failures: string[]): Promise<Filling> {
  const server = await startServer({ data_dir });
  const ids = await Promise.all([makeSession(server), makeSession(server), makeSession(server)]);
  return {
    server,
    writings: ids.map((session_id) => ({ session_id, bodies: new Map(), last_seq: 0 })),
    constructs: [],
    failures,
  };
}

async function sendAppend(
  { server, failures }: Filling,
  writing: Writing,
  bodies: string[],
): Promise<number> {
  const after = writing.last_seq;
  const answer = await server.call(
    "POST",
    `/v1/sessions/${writing.session_id}/entries?after=${after}`,
    bodies.map((body) => `{"kind":"message","body":${body}}\n`).join(""),
    { "content-type": "application/x-ndjson" },
  );
  const text = await answer.text();
  const told = JSON.parse(text) as { code?: string; first_seq?: number; last_seq?: number };
  if (answer.status === 201) {
    if (told.first_seq !== after + 1 || told.last_seq !== after + bodies.length)
      failures.push(`an append behind ${after} was put at ${told.first_seq}`);
    for (const [index, body] of bodies.entries()) writing.bodies.set(after + 1 + index, body);
    writing.last_seq = after + bodies.length;
  } else if (answer.status !== 507 || told.code !== "storage_full")
    failures.push(`an append on a full disk: ${answer.status} ${text.slice(0, 300)}`);
  return answer.status;
}

/** Every kind of write that the server has. */
function writesOf(filling: Filling, disk: SmallDisk): Record<string, Write> {
  const { server, constructs, failures } = filling;
  const [small, bulk, large] = filling.writings as [Writing, Writing, Writing];
  const text = (random: Random, bytes: number): string => JSON.stringify(noise(random, bytes));
  return {
    // One transaction of more pages than the log's index has places for at first.
    ...(disk.bytes >= 40 * 2 ** 20 && {
      huge: (random) =>
        sendAppend(
          filling,
          bulk,
          Array.from({ length: 80 }, () => text(random, 250_000)),
        ),
    }),
    bulk: (random) =>
      sendAppend(
        filling,
        bulk,
        Array.from({ length: 70 }, () => text(random, 5_000)),
      ),
    large: (random) => sendAppend(filling, large, [text(random, 150_000 + random.int(100_000))]),
    rows: (random) =>
      sendAppend(
        filling,
        small,
        Array.from({ length: 1 + random.int(8) }, () => text(random, random.int(4_000))),
      ),
    create: async (random) => {
      const id = system_ids.next();
      const answer = await server.call("PUT", `/v1/constructs/${id}`, {
        title: "full",
        brief: noise(random, 3_000),
      });
      const { code } = (await answer.json()) as { code?: string };
      if (answer.status === 201) constructs.push(id);
      else if (answer.status !== 507 || code !== "storage_full")
        failures.push(`a create on a full disk: ${answer.status} ${code}`);
      return answer.status;
    },
    one: (random) => sendAppend(filling, small, [String(random.int(100))]),
  };
}

/** Writes until every kind of write is refused several times in a row; `one` comes last. Gives how many were accepted. */
async function writeUntilFull(
  writes: Record<string, Write>,
  random: Random,
  failures: string[],
): Promise<number> {
  const { one, ...others } = writes;
  const kinds = Object.entries(others)
    .map(([name, write]) => ({ name, write, place: random.next() }))
    .sort((a, b) => a.place - b.place);
  let accepted = 0;
  for (const { name, write } of [...kinds, { name: "one", write: one! }]) {
    for (let refused = 0, tries = 0; refused < FULL_IN_A_ROW; tries += 1) {
      const status = await write(random);
      if (status === 507) refused += 1;
      else if (status < 300) [accepted, refused] = [accepted + 1, 0];
      else return accepted;
      if (tries > MANY_WRITES) {
        failures.push(`${name}: the disk never gets full`);
        return accepted;
      }
    }
  }
  return accepted;
}

async function checkServing(
  { server, writings, constructs, failures }: Filling,
  when: string,
): Promise<void> {
  const get = async (path: string): Promise<void> => {
    const answer = await server.call("GET", path).catch((error: unknown) => String(error));
    if (typeof answer === "string") return void failures.push(`${when}: GET ${path}: ${answer}`);
    await answer.arrayBuffer();
    if (answer.status !== 200) failures.push(`${when}: GET ${path}: ${answer.status}`);
  };
  for (const path of [
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/constructs?count=true",
    "/v1/sessions",
    "/v1/workspaces",
    "/v1/constructs?q=full",
  ])
    await get(path);
  for (const id of constructs.slice(-2)) await get(`/v1/constructs/${id}`);
  for (const { session_id, last_seq } of writings) {
    await get(`/v1/sessions/${session_id}`);
    await get(`/v1/sessions/${session_id}/entries?limit=100`);
    if (last_seq > 0) await get(`/v1/sessions/${session_id}/entries/${last_seq}`);
  }
}

async function checkKept({ server, writings, constructs, failures }: Filling, when: string): Promise<void> {
  for (const { session_id, bodies, last_seq } of writings) {
    const { lines, faults } = await fetchTranscript(server, session_id);
    for (const fault of faults) failures.push(`${when}: ${fault}`);
    if (lines.length !== last_seq)
      failures.push(`${when}: ${lines.length} entries instead of the ${last_seq} that were acknowledged`);
    const other = lines.find(({ seq, body }) => bodies.get(seq) !== body);
    if (other !== undefined)
      failures.push(`${when}: entry ${other.seq} is not the one that was acknowledged`);
  }
  for (const id of constructs) {
    const answer = await server.call("GET", `/v1/constructs/${id}`);
    await answer.arrayBuffer();
    if (answer.status !== 200) failures.push(`${when}: construct ${id}: ${answer.status}`);
  }
}

/** How long until a write is accepted, or null when it is not. */
async function untilWritable(write: Write, random: Random): Promise<number | null> {
  const began = performance.now();
  while (performance.now() - began < RECOVERY_MS) {
    if ((await write(random)) < 300) return performance.now() - began;
    await Bun.sleep(20);
  }
  return null;
}

/** Room again: writing goes on without a restart, if it is enough for a checkpoint. Gives the milliseconds it took. */
async function recover(
  filling: Filling,
  disk: SmallDisk,
  writes: Record<string, Write>,
  freed_bytes: number,
  random: Random,
  when: string,
): Promise<number> {
  const { failures } = filling;
  disk.free();
  let recovered_ms = 0;
  for (const name of ["one", "rows", "create"]) {
    if (freed_bytes < RECOVERY_BYTES) await writes[name]!(random);
    else {
      const took_ms = await untilWritable(writes[name]!, random);
      if (took_ms === null)
        failures.push(
          `${when}: with ${freed_bytes} bytes free again \`${name}\` is refused for ${RECOVERY_MS} ms`,
        );
      recovered_ms = Math.max(recovered_ms, took_ms ?? RECOVERY_MS);
    }
  }
  await checkKept(filling, `${when}, with room again`);
  return recovered_ms;
}

interface Filled {
  accepted: number;
  recovered_ms: number;
}

/** A new store on the disk: filled, served while full, given room, stopped, looked at, started again. */
async function fillOnce(
  disk: SmallDisk,
  ballast_bytes: number,
  random: Random,
  failures: string[],
  when: string,
): Promise<Filled> {
  const data_dir = join(disk.path, "data");
  mkdirSync(data_dir, { mode: 0o700 });
  let filling: Filling | null = null;
  try {
    filling = await startFilling(data_dir, failures);
    const freed_bytes = disk.fill(ballast_bytes, 300_000);
    const writes = writesOf(filling, disk);
    const accepted = await writeUntilFull(writes, random, failures);
    await checkServing(filling, when);
    await checkKept(filling, `${when}, full`);
    if (filling.server.process.exitCode !== null)
      failures.push(
        `${when}: the server ended with ${filling.server.process.exitCode}: ${filling.server.log().slice(-500)}`,
      );
    const recovered_ms = await recover(filling, disk, writes, freed_bytes, random, when);
    const code = await filling.server.stop();
    if (code !== 0 && code !== 143)
      failures.push(`${when}: the stopped server ended with ${code}: ${filling.server.log().slice(-500)}`);
    failures.push(...checkFile(join(data_dir, "synthetic.db")).map((fault) => `${when}: ${fault}`));
    filling.server = await startServer({ data_dir });
    await checkKept(filling, `${when}, started again`);
    await json(filling.server.call("GET", "/healthz"), 200);
    return { accepted, recovered_ms };
  } finally {
    await filling?.server.stop("SIGKILL");
    disk.free();
    rmSync(data_dir, { recursive: true, force: true });
  }
}

/** Rounds on one disk. Gives the reason in words when there can be no disk. */
async function fillDisk(
  { seed, log }: CampaignOptions,
  mebibytes: number,
  rounds: number,
): Promise<CampaignResult | string> {
  const disk = mountSmallDisk(mebibytes * 2 ** 20);
  if (typeof disk === "string") return disk;
  const failures: string[] = [];
  const random = createRandom(seed * 100 + mebibytes);
  const total: Filled = { accepted: 0, recovered_ms: 0 };
  try {
    for (let round = 0; round < rounds && failures.length < 20; round += 1) {
      const ballast_bytes = RECOVERY_BYTES + random.int(2 ** 20);
      const filled = await fillOnce(
        disk,
        ballast_bytes,
        random,
        failures,
        `${mebibytes} MiB, round ${round}`,
      );
      total.accepted += filled.accepted;
      total.recovered_ms = Math.max(total.recovered_ms, filled.recovered_ms);
    }
  } catch (error) {
    failures.push(
      `${mebibytes} MiB: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    );
  } finally {
    disk.unmount();
  }
  log(`full-disk: ${mebibytes} MiB: ${total.accepted} writes until full, ${rounds} rounds`);
  return {
    cases: total.accepted,
    failures,
    notes: {
      [`disk_${mebibytes}_mib_accepted`]: total.accepted,
      [`disk_${mebibytes}_mib_slowest_recovery_ms`]: Math.round(total.recovered_ms),
    },
  };
}

/** Whether a server starts on a disk that is full; either is fine, as long as it works afterwards and lost nothing. */
async function startWhileFull({ seed }: CampaignOptions): Promise<CampaignResult | string> {
  const disk = mountSmallDisk(14 * 2 ** 20);
  if (typeof disk === "string") return disk;
  const failures: string[] = [];
  const data_dir = join(disk.path, "data");
  const random = createRandom(seed);
  let filling: Filling | null = null;
  let outcome = "started";
  try {
    mkdirSync(data_dir, { mode: 0o700 });
    filling = await startFilling(data_dir, failures);
    const [writing] = filling.writings as [Writing];
    for (let number = 0; number < 40; number += 1)
      await sendAppend(filling, writing, [JSON.stringify(noise(random, 2_000))]);
    await filling.server.stop("SIGKILL");
    disk.fill(disk.bytes);
    try {
      filling.server = await startServer({ data_dir });
      await checkServing(filling, "started on a full disk");
      if ((await sendAppend(filling, writing, ["1"])) < 300) outcome = "started, and had room for an entry";
    } catch (error) {
      outcome = `refused: ${String(error).replaceAll(/\s+/g, " ").slice(0, 300)}`;
    }
    disk.free();
    if (outcome.startsWith("refused")) filling.server = await startServer({ data_dir });
    if ((await untilWritable(() => sendAppend(filling!, writing, ["1"]), random)) === null)
      failures.push("after a start on a full disk no append is accepted");
    await checkKept(filling, "after a start on a full disk");
  } catch (error) {
    failures.push(`start on a full disk: ${String(error)}`);
  } finally {
    await filling?.server.stop("SIGKILL");
    disk.unmount();
  }
  return { cases: 1, failures, notes: { start_on_full_disk: outcome } };
}

async function fillDisks(options: CampaignOptions): Promise<CampaignResult> {
  const { size, log } = options;
  const plan =
    size === "full"
      ? ([
          [3, 3],
          [4, 4],
          [8, 4],
          [14, 6],
          [20, 4],
          [32, 3],
          [64, 3],
        ] as const)
      : ([
          [4, 1],
          [14, 1],
        ] as const);
  const result: CampaignResult = { cases: 0, failures: [], notes: {} };
  const steps = [
    ...plan.map(
      ([mebibytes, rounds]) =>
        () =>
          fillDisk(options, mebibytes, rounds),
    ),
    () => startWhileFull(options),
  ];
  for (const step of steps) {
    const done = await step();
    if (typeof done === "string") {
      log(
        `full-disk: NOT RUN on a small filesystem, because this machine does not let us mount one: ${done}`,
      );
      result.notes["disk"] = `not run: ${done}`;
      // In CI a part that is left out is a part that failed.
      if ((process.env["CI"] ?? "") !== "") result.failures.push(`no small filesystem: ${done}`);
      return result;
    }
    result.cases += done.cases;
    result.failures.push(...done.failures);
    Object.assign(result.notes, done.notes);
  }
  return result;
}

/** 200 rounds on a page limit and seven small disks in full size; 10 and two in short. */
export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const limited = await strikeStore(options);
  const small = await fillDisks(options);
  return {
    cases: limited.cases + small.cases,
    failures: [...limited.failures, ...small.failures],
    notes: { ...limited.notes, ...small.notes },
  };
}

/** Refusals are taken for acknowledgements: a check that does not notice is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return strikeStore(options, true);
}
