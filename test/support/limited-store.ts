/**
 * A store in this process whose file may grow only so far, what is asked of it, and a ledger of what it said: what
 * was acknowledged has to be there, what was refused must not be, not even in part.
 */
import { createConstruct, getConstruct, listConstructs, updateConstruct } from "../../src/core/construct.ts";
import { appendEntries } from "../../src/core/append.ts";
import type { Context } from "../../src/core/context.ts";
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
import type { Random } from "./campaign.ts";
import { caller } from "./store.ts";
import { readTranscript, transcriptFaults } from "./transcript.ts";
import { sharedBlobs } from "./blobs.ts";

const NO_LIMIT = 4_294_967_294;

/** Text that hardly compresses, so that frames need pages too. */
export function noise(random: Random, bytes: number): string {
  const numbers = Uint32Array.from({ length: Math.ceil(bytes / 5) + 1 }, () => random.int(2 ** 31));
  return Buffer.from(numbers.buffer).toString("base64").slice(0, bytes);
}

export interface LimitedStore {
  context: Context;
  /** Sets how many pages the file may have; gives the present number of pages. */
  limitPages(more: number | null): number;
  failure(): Promise<string | null>;
  /** What the background could not do. */
  log_lines: string[];
  reopen(): Promise<void>;
  close(): Promise<void>;
}

export async function openLimitedStore(data_dir: string): Promise<LimitedStore> {
  const log_lines: string[] = [];
  const log = createLog(system_clock, "warn", (line) => void log_lines.push(line));
  const open = async () => {
    const opened = await openDatabase({ data_dir, migrate: false, clock: system_clock, ids: system_ids });
    return {
      opened,
      ...createSqliteStore({
        writer: opened.writer,
        path: opened.path,
        generation: opened.generation,
        clock: system_clock,
        log,
        seal_idle_ms: 3_600_000,
      }),
    };
  };
  let current = await open();
  const context: Context = {
    store: current.store,
    blobs: sharedBlobs(),
    clock: system_clock,
    ids: system_ids,
    bell: createBell(),
  };
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

export type Member =
  | { kind: "append"; shape: "row" | "bulk" | "large"; session_id: string; sent: SentEntry[] }
  | { kind: "create"; id: string; title: string; labels: string[] }
  | { kind: "update"; id: string; title: string };

export interface Told {
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

export function makeMember(
  random: Random,
  name: string,
  sessions: readonly string[],
  constructs: readonly string[],
  rows_only: boolean,
): Member {
  const roll = rows_only ? 0 : random.int(100);
  const session_id = random.pick(sessions);
  if (roll < 70)
    return {
      kind: "append",
      shape: "row",
      session_id,
      sent: makeEntries(random, name, 1 + random.int(4), 6_000),
    };
  if (roll < 78)
    return {
      kind: "append",
      shape: "bulk",
      session_id,
      sent: makeEntries(random, name, 90 + random.int(60), 8_000),
    };
  if (roll < 84)
    return {
      kind: "append",
      shape: "large",
      session_id,
      sent: [
        ...makeEntries(random, `${name}.s`, random.int(3), 500),
        ...makeEntries(random, name, 1, 1).map((entry) => ({
          ...entry,
          body: JSON.stringify(noise(random, 135_000 + random.int(300_000))),
        })),
      ],
    };
  if (roll < 94 || constructs.length === 0)
    return { kind: "create", id: system_ids.next(), title: noise(random, 400), labels: [name] };
  return { kind: "update", id: random.pick(constructs), title: name };
}

function begin(context: Context, member: Member): Promise<AppendResult | Construct> {
  if (member.kind === "append") return appendEntries(context, member.session_id, member.sent);
  if (member.kind === "create")
    return createConstruct(
      context,
      { id: member.id, title: member.title, labels: member.labels, brief: member.title.repeat(5) },
      caller,
    ).then(({ row }) => row);
  return updateConstruct(context, member.id, { title: member.title }, "*", caller);
}

/** Starts all of them in one tick, so that they share group commits. */
export async function tellAll(context: Context, members: readonly Member[]): Promise<Told[]> {
  const settled = await Promise.allSettled(members.map((member) => begin(context, member)));
  return settled.map((outcome, index) => {
    const member = members[index]!;
    if (outcome.status === "fulfilled") return { member, result: outcome.value, code: null, detail: "" };
    const reason: unknown = outcome.reason;
    return {
      member,
      result: null,
      code: reason instanceof Problem ? reason.code : "not a Problem",
      detail: String(reason),
    };
  });
}

/** What the harness believes to be stored. */
export class Ledger {
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
      if (told.code !== "storage_full")
        this.fail(`${member.kind} was refused with ${told.code}: ${told.detail}`);
      return;
    }
    this.acknowledged += 1;
    if (member.kind === "append") {
      const entries = this.entries.get(member.session_id) ?? new Map<number, { body: string; key: string }>();
      this.entries.set(member.session_id, entries);
      const { first_seq, replayed } = result as AppendResult;
      if (replayed) this.fail(`a first append to ${member.session_id} is called a replay`);
      for (const [index, { body, key }] of member.sent.entries()) {
        if (entries.has(first_seq + index))
          this.fail(`seq ${first_seq + index} of ${member.session_id} was given twice`);
        entries.set(first_seq + index, { body, key: key ?? "" });
      }
    } else if (member.kind === "create") this.constructs.set(member.id, { title: member.title, events: 1 });
    else
      this.constructs.set(member.id, {
        title: member.title,
        events: (this.constructs.get(member.id)?.events ?? 0) + 1,
      });
  }
}

async function readAll(context: Context, session_id: string): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of await streamTranscript(context, session_id, "identity")) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

/** The store holds what was acknowledged and nothing else. */
export async function checkStore(
  context: Context,
  ledger: Ledger,
  sessions: readonly string[],
  refused_creates: readonly string[],
  when: string,
): Promise<void> {
  for (const session_id of sessions) {
    const transcript = readTranscript(await readAll(context, session_id));
    for (const fault of transcriptFaults(transcript, await getSession(context, session_id)))
      ledger.fail(`${when}: ${session_id}: ${fault}`);
    const expected = ledger.entries.get(session_id) ?? new Map<number, { body: string; key: string }>();
    if (transcript.lines.length !== expected.size)
      ledger.fail(
        `${when}: ${session_id} has ${transcript.lines.length} entries, ${expected.size} were acknowledged`,
      );
    for (const { seq, body, key } of transcript.lines) {
      const meant = expected.get(seq);
      if (meant?.body !== body || meant.key !== key)
        ledger.fail(
          `${when}: ${session_id}: entry ${seq} (${key}) is not what was acknowledged there (${meant?.key})`,
        );
    }
  }
  for (const [id, { title, events }] of ledger.constructs) {
    const row = await context.store.constructs.find(id);
    if (row?.title !== title)
      ledger.fail(`${when}: construct ${id} is ${row === null ? "missing" : "another one"}`);
    const found = await context.store.events.list({ after: 0, limit: 500, construct_id: id });
    const own = found.filter(({ session_id }) => session_id === null);
    if (own.length !== events)
      ledger.fail(`${when}: construct ${id} has ${own.length} events instead of ${events}`);
  }
  for (const id of refused_creates) {
    if ((await context.store.constructs.find(id)) !== null)
      ledger.fail(`${when}: a refused construct is there`);
    if ((await context.store.events.list({ after: 0, limit: 1, construct_id: id })).length > 0)
      ledger.fail(`${when}: a refused construct has an event`);
  }
}

export async function checkReads(
  context: Context,
  ledger: Ledger,
  sessions: readonly string[],
): Promise<void> {
  try {
    await listConstructs(
      context,
      { deleted: false },
      { sort: "updated", order: "desc" },
      { limit: 50, count: true },
    );
    for (const session_id of sessions)
      await pageEntries(context, session_id, { limit: 50, max_bytes: 1 << 20 });
    const [id] = ledger.constructs.keys();
    if (id !== undefined) await getConstruct(context, id);
  } catch (error) {
    ledger.fail(`a read failed while the disk was full: ${String(error)}`);
  }
}
