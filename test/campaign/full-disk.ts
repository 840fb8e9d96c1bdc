/**
 * A full disk, in two ways: a page limit that strikes in the middle of group commits of a store in this process, and
 * a compiled server on a filesystem of a few mebibytes. What was acknowledged is there, what was refused is not, not
 * even in part; reads go on; and writing goes on as soon as there is room, without a restart.
 */
import { Database } from "bun:sqlite";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConstruct, getConstruct, listConstructs, updateConstruct } from "../../src/core/construct.ts";
import type { Context } from "../../src/core/context.ts";
import { appendEntries } from "../../src/core/append.ts";
import { pageEntries, streamTranscript } from "../../src/core/entry.ts";
import { getSession } from "../../src/core/session.ts";
import { Problem } from "../../src/errors.ts";
import { system_clock } from "../../src/lib/clock.ts";
import { system_ids } from "../../src/lib/ids.ts";
import { createLog } from "../../src/lib/log.ts";
import { createBell } from "../../src/lib/wake.ts";
import type { Construct } from "../../src/schema/construct.ts";
import type { AppendResult, SentEntry } from "../../src/schema/entry.ts";
import { openDatabase } from "../../src/store/sqlite/open.ts";
import { createSqliteStore } from "../../src/store/sqlite/store.ts";
import { type CampaignOptions, type CampaignResult, createRandom, type Random } from "../support/campaign.ts";
import { json, makeSession, type Server, startServer } from "../support/server.ts";
import { caller, newSession } from "../support/store.ts";
import { fetchTranscript, readTranscript, transcriptFaults } from "../support/transcript.ts";

const NO_LIMIT = 4_294_967_294;

/** Text that hardly compresses, so that frames need pages too. */
function noise(random: Random, bytes: number): string {
  const numbers = Uint32Array.from({ length: Math.ceil(bytes / 5) + 1 }, () => random.int(2 ** 31));
  return Buffer.from(numbers.buffer).toString("base64").slice(0, bytes);
}

// ---------------------------------------------------------------- the store in this process

interface LimitedStore {
  context: Context;
  /** Sets how many pages the file may have; gives the present number of pages. */
  limitPages(more: number | null): number;
  failure(): Promise<string | null>;
  /** What the background could not do. */
  log_lines: string[];
  reopen(): Promise<void>;
  close(): Promise<void>;
}

async function openLimitedStore(data_dir: string): Promise<LimitedStore> {
  const log_lines: string[] = [];
  const log = createLog(system_clock, "warn", (line) => void log_lines.push(line));
  const open = async () => {
    const opened = await openDatabase({ data_dir, migrate: false, clock: system_clock, ids: system_ids });
    return { opened, ...createSqliteStore({ writer: opened.writer, path: opened.path, generation: opened.generation, clock: system_clock, log, seal_idle_ms: 3_600_000 }) };
  };
  let current = await open();
  const context: Context = { store: current.store, clock: system_clock, ids: system_ids, bell: createBell() };
  const close = async (): Promise<void> => {
    await current.store.close();
    current.opened.lock.release();
  };
  return {
    context,
    log_lines,
    limitPages(more) {
      const { writer } = current.opened;
      const pages = Number(writer.query("PRAGMA page_count").values()[0]?.[0]);
      writer.run(`PRAGMA max_page_count = ${more === null ? NO_LIMIT : pages + more}`);
      return pages;
    },
    failure: () => Promise.race([current.failed, Bun.sleep(0).then(() => null)]),
    async reopen() {
      await close();
      current = await open();
      context.store = current.store;
    },
    close,
  };
}

type Member =
  | { kind: "append"; shape: "row" | "bulk" | "large"; session_id: string; sent: SentEntry[] }
  | { kind: "create"; id: string; title: string; labels: string[] }
  | { kind: "update"; id: string; title: string };

interface Told {
  member: Member;
  /** Null when it was refused. */
  result: AppendResult | Construct | null;
  code: string | null;
  detail: string;
}

function makeEntries(random: Random, name: string, count: number, bytes: number): SentEntry[] {
  return Array.from({ length: count }, (_, index): SentEntry => ({
    kind: "message",
    at_ms: index,
    key: `${name}.${index}`,
    body: JSON.stringify({ name, index, text: noise(random, 1 + random.int(bytes)) }),
  }));
}

function makeMember(random: Random, name: string, sessions: readonly string[], constructs: readonly string[], rows_only: boolean): Member {
  const roll = rows_only ? 0 : random.int(100);
  const session_id = random.pick(sessions);
  if (roll < 70) return { kind: "append", shape: "row", session_id, sent: makeEntries(random, name, 1 + random.int(4), 6_000) };
  if (roll < 78) return { kind: "append", shape: "bulk", session_id, sent: makeEntries(random, name, 90 + random.int(60), 8_000) };
  if (roll < 84) return { kind: "append", shape: "large", session_id, sent: [...makeEntries(random, `${name}.s`, random.int(3), 500), ...makeEntries(random, name, 1, 1).map((entry) => ({ ...entry, body: JSON.stringify(noise(random, 135_000 + random.int(300_000))) }))] };
  if (roll < 94 || constructs.length === 0) return { kind: "create", id: system_ids.next(), title: noise(random, 400), labels: [name] };
  return { kind: "update", id: random.pick(constructs), title: name };
}

function begin(context: Context, member: Member): Promise<AppendResult | Construct> {
  if (member.kind === "append") return appendEntries(context, member.session_id, member.sent);
  if (member.kind === "create") return createConstruct(context, { id: member.id, title: member.title, labels: member.labels, brief: member.title.repeat(5) }, caller).then(({ row }) => row);
  return updateConstruct(context, member.id, { title: member.title }, "*", caller);
}

/** Starts all of them in one tick, so that they share group commits. */
async function tellAll(context: Context, members: readonly Member[]): Promise<Told[]> {
  const settled = await Promise.allSettled(members.map((member) => begin(context, member)));
  return settled.map((outcome, index) => {
    const member = members[index]!;
    if (outcome.status === "fulfilled") return { member, result: outcome.value, code: null, detail: "" };
    const reason: unknown = outcome.reason;
    return { member, result: null, code: reason instanceof Problem ? reason.code : "not a Problem", detail: String(reason) };
  });
}

/** What the harness believes to be stored. */
class Ledger {
  readonly failures: string[] = [];
  /** By session: bodies by seq, from what was acknowledged. */
  readonly entries = new Map<string, Map<number, { body: string; key: string }>>();
  readonly constructs = new Map<string, { title: string; events: number }>();
  acknowledged = 0;
  refused = 0;

  fail(what: string): void {
    if (this.failures.length < 100) this.failures.push(what);
  }

  note(told: Told): void {
    const { member, result } = told;
    if (result === null) {
      this.refused += 1;
      if (told.code !== "storage_full") this.fail(`${member.kind} was refused with ${told.code}: ${told.detail}`);
      return;
    }
    this.acknowledged += 1;
    if (member.kind === "append") {
      const entries = this.entries.get(member.session_id) ?? new Map<number, { body: string; key: string }>();
      this.entries.set(member.session_id, entries);
      const { first_seq, replayed } = result as AppendResult;
      if (replayed) this.fail(`a first append to ${member.session_id} is called a replay`);
      for (const [index, { body, key }] of member.sent.entries()) {
        if (entries.has(first_seq + index)) this.fail(`seq ${first_seq + index} of ${member.session_id} was given twice`);
        entries.set(first_seq + index, { body, key: key ?? "" });
      }
    } else if (member.kind === "create") this.constructs.set(member.id, { title: member.title, events: 1 });
    else this.constructs.set(member.id, { title: member.title, events: (this.constructs.get(member.id)?.events ?? 0) + 1 });
  }
}

async function readAll(context: Context, session_id: string): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of await streamTranscript(context, session_id, "identity")) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

/** The store holds what was acknowledged and nothing else. */
async function checkStore(context: Context, ledger: Ledger, sessions: readonly string[], refused_creates: readonly string[], when: string): Promise<void> {
  for (const session_id of sessions) {
    const transcript = readTranscript(await readAll(context, session_id));
    for (const fault of transcriptFaults(transcript, await getSession(context, session_id))) ledger.fail(`${when}: ${session_id}: ${fault}`);
    const expected = ledger.entries.get(session_id) ?? new Map<number, { body: string; key: string }>();
    if (transcript.lines.length !== expected.size) ledger.fail(`${when}: ${session_id} has ${transcript.lines.length} entries, ${expected.size} were acknowledged`);
    for (const { seq, body, key } of transcript.lines) {
      const meant = expected.get(seq);
      if (meant?.body !== body || meant.key !== key) ledger.fail(`${when}: ${session_id}: entry ${seq} (${key}) is not what was acknowledged there (${meant?.key})`);
    }
  }
  for (const [id, { title, events }] of ledger.constructs) {
    const row = await context.store.constructs.find(id);
    if (row?.title !== title) ledger.fail(`${when}: construct ${id} is ${row === null ? "missing" : "another one"}`);
    const found = await context.store.events.list({ after: 0, limit: 500, construct_id: id });
    const own = found.filter(({ session_id }) => session_id === null);
    if (own.length !== events) ledger.fail(`${when}: construct ${id} has ${own.length} events instead of ${events}`);
  }
  for (const id of refused_creates) {
    if ((await context.store.constructs.find(id)) !== null) ledger.fail(`${when}: a refused construct is there`);
    if ((await context.store.events.list({ after: 0, limit: 1, construct_id: id })).length > 0) ledger.fail(`${when}: a refused construct has an event`);
  }
}

async function checkReads(context: Context, ledger: Ledger, sessions: readonly string[]): Promise<void> {
  try {
    await listConstructs(context, { deleted: false }, { sort: "updated", order: "desc" }, { limit: 50, count: true });
    for (const session_id of sessions) await pageEntries(context, session_id, { limit: 50, max_bytes: 1 << 20 });
    const [id] = ledger.constructs.keys();
    if (id !== undefined) await getConstruct(context, id);
  } catch (error) {
    ledger.fail(`a read failed while the disk was full: ${String(error)}`);
  }
}

interface Counts {
  rounds: number;
  members: number;
  struck: number;
  torn_groups: number;
}

/** One tick full of writes with room for only some of them. */
async function strike(store: LimitedStore, ledger: Ledger, random: Random, name: string, sessions: readonly string[], counts: Counts, lie: boolean): Promise<void> {
  const { context } = store;
  const rows_only = random.chance(0.4);
  const members = Array.from({ length: 2 + random.int(rows_only ? 120 : 60) }, (_, index) => makeMember(random, `${name}.${index}`, sessions, [...ledger.constructs.keys()], rows_only));
  store.limitPages(random.int(rows_only ? 120 : 400));
  const told = await tellAll(context, members);
  const refused = told.filter(({ result }) => result === null);
  counts.rounds += 1;
  counts.members += members.length;
  if (refused.length > 0) counts.struck += 1;
  // One tick of rows is one group: all of it, or nothing.
  if (rows_only && refused.length > 0 && refused.length < members.length) ledger.fail(`${name}: of one group ${members.length - refused.length} were acknowledged and ${refused.length} refused`);
  if (refused.length > 0 && refused.length < members.length) counts.torn_groups += 1;
  for (const one of told) ledger.note(lie && one.code === "storage_full" && one.member.kind === "append" ? { ...one, result: { first_seq: 1_000_000 + counts.members, replayed: false } as AppendResult } : one);
  await checkReads(context, ledger, sessions);
  // Sealing needs room too; whatever becomes of it, nothing may be lost.
  if (random.chance(0.3)) await context.store.entries.sealAll().catch((error: unknown) => {
    if (!(error instanceof Problem) || error.code !== "storage_full") ledger.fail(`${name}: sealing on a full disk: ${String(error)}`);
  });
  const creates = refused.flatMap(({ member }) => (member.kind === "create" ? [member.id] : []));
  await checkStore(context, ledger, sessions, creates, `${name}, full`);

  store.limitPages(null);
  // The refused ones again: now they go through, as new ones.
  for (const one of await tellAll(context, refused.map(({ member }) => member))) {
    if (one.result === null) ledger.fail(`${name}: with room again: ${one.member.kind} was refused with ${one.code}: ${one.detail}`);
    else if (!lie) ledger.note(one);
  }
  const failure = await store.failure();
  if (failure !== null) ledger.fail(`${name}: the writer gave up: ${failure}`);
}

function checkFile(path: string): string[] {
  const db = new Database(path, { readonly: true });
  try {
    const found = db.query("PRAGMA integrity_check").values().flat();
    const foreign = db.query("PRAGMA foreign_key_check").values();
    return [...(found.length === 1 && found[0] === "ok" ? [] : [`integrity_check: ${found.join("; ")}`]), ...(foreign.length === 0 ? [] : [`foreign_key_check: ${foreign.length} rows`])];
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
          for (let index = 0; index < sessions.length; index += 1) sessions[index] = (await newSession(store.context)).id;
        }
      }
      await checkStore(store.context, ledger, sessions, [], "at the end");
    } finally {
      await store.close();
    }
    ledger.failures.push(...checkFile(join(data_dir, "synthetic.db")));
    log(`full-disk: ${counts.rounds} rounds on a page limit, ${ledger.acknowledged} acknowledged, ${ledger.refused} refused`);
    return {
      cases: counts.members,
      failures: ledger.failures,
      notes: { limit_rounds: counts.rounds, limit_rounds_full: counts.struck, limit_mixed_rounds: counts.torn_groups, limit_acknowledged: ledger.acknowledged, limit_refused: ledger.refused, limit_log_lines: store.log_lines.length },
    };
  } finally {
    rmSync(data_dir, { recursive: true, force: true });
  }
}

// ---------------------------------------------------------------- the server on a small filesystem

interface SmallDisk {
  path: string;
  /** Takes the space away, or gives it back. */
  fill(bytes: number): void;
  free(): void;
  unmount(): void;
}

/** Null, with the reason in words, where this machine does not let us. */
function mountSmallDisk(bytes: number): SmallDisk | string {
  const path = mkdtempSync(join(tmpdir(), "synthetic-small-"));
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${bytes},mode=0700`, "tmpfs", path]);
  if (mounted.exitCode !== 0) {
    rmSync(path, { recursive: true, force: true });
    return `mount -t tmpfs: ${mounted.stderr.toString().trim() || `exit code ${mounted.exitCode}`}`;
  }
  const ballast = join(path, "ballast");
  return {
    path,
    fill: (count) => writeFileSync(ballast, Buffer.alloc(count, 1)),
    free: () => rmSync(ballast, { force: true }),
    unmount() {
      if (Bun.spawnSync(["umount", path]).exitCode !== 0) Bun.spawnSync(["umount", "-l", path]);
      rmSync(path, { recursive: true, force: true });
    },
  };
}

interface Writing {
  session_id: string;
  /** Bodies that were acknowledged, by seq. */
  bodies: Map<number, string>;
  last_seq: number;
}

interface Sent {
  status: number;
  code: string;
}

type Write = (random: Random) => Promise<Sent>;

const FULL_IN_A_ROW = 6;

async function sendAppend(server: Server, writing: Writing, bodies: string[], failures: string[]): Promise<Sent> {
  const after = writing.last_seq;
  const answer = await server.call("POST", `/v1/sessions/${writing.session_id}/entries?after=${after}`, `{"entries":[${bodies.map((body) => `{"kind":"message","body":${body}}`).join(",")}]}`);
  const text = await answer.text();
  const told = JSON.parse(text) as { code?: string; first_seq?: number; last_seq?: number };
  if (answer.status === 201 || answer.status === 200) {
    if (told.first_seq !== after + 1 || told.last_seq !== after + bodies.length) failures.push(`an append behind ${after} was put at ${told.first_seq}`);
    for (const [index, body] of bodies.entries()) writing.bodies.set(after + 1 + index, body);
    writing.last_seq = after + bodies.length;
  } else if (answer.status === 507 && told.code !== "storage_full") failures.push(`507 with code ${told.code}`);
  else if (answer.status !== 507) failures.push(`an append on a full disk: ${answer.status} ${text.slice(0, 300)}`);
  return { status: answer.status, code: told.code ?? "" };
}

/** Every kind of write that the server has, each against its own session. */
function writesOf(server: Server, writings: Writing[], constructs: string[], failures: string[]): Record<string, Write> {
  const [small, bulk, large] = writings as [Writing, Writing, Writing];
  return {
    bulk: (random) => sendAppend(server, bulk, Array.from({ length: 70 }, () => JSON.stringify(noise(random, 5_000))), failures),
    large: (random) => sendAppend(server, large, [JSON.stringify(noise(random, 150_000 + random.int(100_000)))], failures),
    rows: (random) => sendAppend(server, small, Array.from({ length: 1 + random.int(8) }, () => JSON.stringify(noise(random, random.int(4_000)))), failures),
    create: async (random) => {
      const id = system_ids.next();
      const answer = await server.call("PUT", `/v1/constructs/${id}`, { title: "full", brief: noise(random, 3_000) });
      const { code } = (await answer.json()) as { code?: string };
      if (answer.status === 201) constructs.push(id);
      else if (answer.status !== 507 || code !== "storage_full") failures.push(`a create on a full disk: ${answer.status} ${code}`);
      return { status: answer.status, code: code ?? "" };
    },
    one: (random) => sendAppend(server, small, [JSON.stringify(random.int(100))], failures),
  };
}

/** Writes until every kind of write is refused several times in a row. Gives how many were accepted. */
async function writeUntilFull(writes: Record<string, Write>, random: Random, failures: string[]): Promise<number> {
  let accepted = 0;
  for (const [name, write] of Object.entries(writes)) {
    for (let refused = 0, tries = 0; refused < FULL_IN_A_ROW; tries += 1) {
      const { status } = await write(random);
      if (status === 507) refused += 1;
      else if (status < 300) [accepted, refused] = [accepted + 1, 0];
      else return accepted;
      if (tries > 20_000) {
        failures.push(`${name}: the disk never gets full`);
        break;
      }
    }
  }
  return accepted;
}

async function checkServing(server: Server, writings: readonly Writing[], constructs: readonly string[], failures: string[], when: string): Promise<void> {
  const get = async (path: string): Promise<void> => {
    const answer = await server.call("GET", path).catch((error: unknown) => String(error));
    if (typeof answer === "string") return void failures.push(`${when}: GET ${path}: ${answer}`);
    await answer.arrayBuffer();
    if (answer.status !== 200) failures.push(`${when}: GET ${path}: ${answer.status}`);
  };
  for (const path of ["/healthz", "/v1/constructs?count=true", "/v1/sessions", "/v1/workspaces", "/v1/constructs?q=full"]) await get(path);
  for (const id of constructs.slice(-2)) await get(`/v1/constructs/${id}`);
  for (const { session_id, last_seq } of writings) {
    await get(`/v1/sessions/${session_id}`);
    await get(`/v1/sessions/${session_id}/entries?limit=100`);
    if (last_seq > 0) await get(`/v1/sessions/${session_id}/entries/${last_seq}`);
  }
}

async function checkKept(server: Server, writings: readonly Writing[], constructs: readonly string[], failures: string[], when: string): Promise<void> {
  for (const { session_id, bodies, last_seq } of writings) {
    const { lines, faults } = await fetchTranscript(server, session_id);
    for (const fault of faults) failures.push(`${when}: ${fault}`);
    if (lines.length !== last_seq) failures.push(`${when}: ${lines.length} entries instead of the ${last_seq} that were acknowledged`);
    const other = lines.find(({ seq, body }) => bodies.get(seq) !== body);
    if (other !== undefined) failures.push(`${when}: entry ${other.seq} is not the one that was acknowledged`);
  }
  for (const id of constructs) {
    const answer = await server.call("GET", `/v1/constructs/${id}`);
    await answer.arrayBuffer();
    if (answer.status !== 200) failures.push(`${when}: construct ${id}: ${answer.status}`);
  }
}

/** After room was made: how long until a write is accepted. */
async function untilWritable(write: Write, random: Random): Promise<number | null> {
  const began = performance.now();
  while (performance.now() - began < 5_000) {
    const { status } = await write(random);
    if (status < 300) return performance.now() - began;
    await Bun.sleep(20);
  }
  return null;
}

interface DiskRound {
  accepted: number;
  recovered_ms: number;
}

async function fillServer(server: Server, disk: SmallDisk, ballast_bytes: number, random: Random, writings: Writing[], constructs: string[], failures: string[], when: string): Promise<DiskRound> {
  const writes = writesOf(server, writings, constructs, failures);
  const accepted = await writeUntilFull(writes, random, failures);
  await checkServing(server, writings, constructs, failures, when);
  await checkKept(server, writings, constructs, failures, when);
  if (server.process.exitCode !== null) failures.push(`${when}: the server ended with ${server.process.exitCode}: ${server.log().slice(-500)}`);
  disk.free();
  const recovered_ms = await untilWritable(writes["one"]!, random);
  if (recovered_ms === null) failures.push(`${when}: no write is accepted with ${ballast_bytes} bytes free`);
  for (const name of ["rows", "create"] as const) if ((await untilWritable(writes[name]!, random)) === null) failures.push(`${when}: ${name} is not accepted with room again`);
  await checkKept(server, writings, constructs, failures, `${when}, with room again`);
  return { accepted, recovered_ms: recovered_ms ?? -1 };
}

async function fillOneDisk({ seed, log }: CampaignOptions, mebibytes: number, rounds: number): Promise<CampaignResult | string> {
  const bytes = mebibytes * 2 ** 20;
  const disk = mountSmallDisk(bytes);
  if (typeof disk === "string") return disk;
  const failures: string[] = [];
  const random = createRandom(seed * 100 + mebibytes);
  const data_dir = join(disk.path, "data");
  let server: Server | null = null;
  let accepted = 0;
  let slowest_ms = 0;
  try {
    mkdirSync(data_dir, { mode: 0o700 });
    server = await startServer({ data_dir });
    const constructs: string[] = [];
    const freshWritings = async (own: Server): Promise<Writing[]> => {
      const ids = await Promise.all([makeSession(own), makeSession(own), makeSession(own)]);
      return ids.map((session_id) => ({ session_id, bodies: new Map<number, string>(), last_seq: 0 }));
    };
    const writings = await freshWritings(server);
    for (let round = 0; round < rounds && failures.length < 20; round += 1) {
      // Each round leaves less: the last ones strike while there is nearly no room for the log.
      const ballast_bytes = Math.floor((bytes * 0.4) / (round + 1));
      const used = statfsUsed(disk.path);
      disk.fill(Math.max(0, Math.min(ballast_bytes, bytes - used - 300_000)));
      const done = await fillServer(server, disk, ballast_bytes, random, writings, constructs, failures, `${mebibytes} MiB, round ${round}`);
      accepted += done.accepted;
      slowest_ms = Math.max(slowest_ms, done.recovered_ms);
    }
    const pid = server.pid;
    const code = await server.stop();
    if (code !== 0) failures.push(`${mebibytes} MiB: the stopped server ended with ${code}: ${server.log().slice(-500)}`);
    failures.push(...checkFile(join(data_dir, "synthetic.db")).map((fault) => `${mebibytes} MiB: ${fault}`));
    server = await startServer({ data_dir });
    await checkKept(server, writings, constructs, failures, `${mebibytes} MiB, started again`);
    await json(server.call("GET", "/healthz"), 200);
    log(`full-disk: ${mebibytes} MiB (server ${pid}): ${accepted} writes until full, ${rounds} rounds`);
    return { cases: accepted, failures, notes: { [`disk_${mebibytes}_mib_accepted`]: accepted, [`disk_${mebibytes}_mib_slowest_recovery_ms`]: Math.round(slowest_ms) } };
  } catch (error) {
    return { cases: accepted, failures: [...failures, `${mebibytes} MiB: ${String(error)} ${server?.log().slice(-800) ?? ""}`], notes: {} };
  } finally {
    await server?.stop("SIGKILL");
    disk.unmount();
  }
}

/** Bytes that files take on a filesystem of ours. */
function statfsUsed(path: string): number {
  const found = Bun.spawnSync(["df", "--output=used", "-B1", path]).stdout.toString();
  return Number(found.trim().split("\n").at(-1));
}

/** Whether a server starts on a disk that is full; either is fine, as long as it says so and works afterwards. */
async function startWhileFull({ seed }: CampaignOptions): Promise<CampaignResult | string> {
  const disk = mountSmallDisk(6 * 2 ** 20);
  if (typeof disk === "string") return disk;
  const failures: string[] = [];
  const data_dir = join(disk.path, "data");
  let server: Server | null = null;
  let outcome = "started";
  try {
    mkdirSync(data_dir, { mode: 0o700 });
    server = await startServer({ data_dir });
    const session_id = await makeSession(server);
    const writing: Writing = { session_id, bodies: new Map(), last_seq: 0 };
    const random = createRandom(seed);
    for (let number = 0; number < 40; number += 1) await sendAppend(server, writing, [JSON.stringify(noise(random, 2_000))], failures);
    await server.stop("SIGKILL");
    disk.fill(Math.max(0, 6 * 2 ** 20 - statfsUsed(disk.path)));
    try {
      server = await startServer({ data_dir });
      await checkServing(server, [writing], [], failures, "started on a full disk");
    } catch (error) {
      outcome = `refused: ${String(error).replaceAll(/\s+/g, " ").slice(0, 200)}`;
      server = null;
    }
    disk.free();
    server ??= await startServer({ data_dir });
    await checkKept(server, [writing], [], failures, "after a start on a full disk");
    const { status } = await sendAppend(server, writing, ["1"], failures);
    if (status !== 201) failures.push(`after a start on a full disk: an append is answered with ${status}`);
    return { cases: 1, failures, notes: { start_on_full_disk: outcome } };
  } catch (error) {
    return { cases: 1, failures: [...failures, `start on a full disk: ${String(error)}`], notes: {} };
  } finally {
    await server?.stop("SIGKILL");
    disk.unmount();
  }
}

async function fillDisks(options: CampaignOptions): Promise<CampaignResult> {
  const { size, log } = options;
  const plan = size === "full" ? [[3, 2], [4, 4], [6, 4], [10, 4], [16, 3], [32, 3]] as const : [[4, 2]] as const;
  const result: CampaignResult = { cases: 0, failures: [], notes: {} };
  const steps = [...plan.map(([mebibytes, rounds]) => () => fillOneDisk(options, mebibytes, rounds)), () => startWhileFull(options)];
  for (const step of steps) {
    const done = await step();
    if (typeof done === "string") {
      log(`full-disk: NOT RUN on a small filesystem, because this machine does not let us mount one: ${done}`);
      result.notes["disk"] = `not run: ${done}`;
      // In CI a part that is left out is a part that failed.
      if (process.env["CI"] !== undefined && process.env["CI"] !== "") result.failures.push(`no small filesystem: ${done}`);
      return result;
    }
    result.cases += done.cases;
    result.failures.push(...done.failures);
    Object.assign(result.notes, done.notes);
  }
  return result;
}

/** 200 rounds on a page limit and six small filesystems in full size; 10 and one in short. */
export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const began = performance.now();
  const limited = await strikeStore(options);
  const small = await fillDisks(options);
  return {
    cases: limited.cases + small.cases,
    failures: [...limited.failures, ...small.failures],
    notes: { seed: options.seed, ...limited.notes, ...small.notes, seconds: Number(((performance.now() - began) / 1_000).toFixed(1)) },
  };
}

/** Refusals are taken for acknowledgements: a check that does not notice is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return strikeStore(options, true);
}
