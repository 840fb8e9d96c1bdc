/**
 * The whole stack below the doors against a model of plain Maps: commands chosen by fast-check create, change, delete
 * and list constructs and sessions, append, read in every way, follow, seal and restart, in any order. The model
 * predicts every answer, every refusal and every byte of a transcript.
 */
import { deepStrictEqual, ok } from "node:assert";
import { createHash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import {
  createConstruct,
  deleteConstruct,
  getConstruct,
  listConstructs,
  listStatuses,
  undeleteConstruct,
  updateConstruct,
} from "../../src/core/construct.ts";
import type { Context } from "../../src/core/context.ts";
import { appendEntries } from "../../src/core/append.ts";
import {
  getEntry,
  pageEntries,
  type EntriesQuery,
  streamEntries,
  streamTranscript,
} from "../../src/core/entry.ts";
import {
  createSession,
  deleteSession,
  getSession,
  listSessions,
  undeleteSession,
  updateSession,
} from "../../src/core/session.ts";
import { openTail, type Tail, type TailStep } from "../../src/core/tail.ts";
import { Problem } from "../../src/errors.ts";
import { DEFAULT_WORKSPACE_ID } from "../../src/lib/ids.ts";
import { limit } from "../../src/limits.ts";
import type {
  Construct,
  ConstructCreate,
  ConstructPatch,
  ConstructSort,
  StatusPeriod,
} from "../../src/schema/construct.ts";
import type { AppendResult, EntryKind, SentEntry } from "../../src/schema/entry.ts";
import type { Session, SessionCreate, SessionPatch } from "../../src/schema/session.ts";
import type { CampaignOptions, CampaignResult } from "../support/campaign.ts";
import { caller, openTestStore, type TestStore } from "../support/store.ts";

// ---------------------------------------------------------------- the model

interface ModelEntry {
  sent: SentEntry;
  actor: string;
  at_ms: number;
  received_at_ms: number;
  /** The wire line, without its newline. */
  line: string;
  bytes: number;
  /** The running head after it. */
  head: string;
}

interface ModelConstruct {
  row: Construct;
  created_by: string;
  statuses: StatusPeriod[];
}

interface ModelSession {
  row: Omit<Session, "last_seq" | "head" | "dropped_through_seq">;
  created_by: string;
  entries: ModelEntry[];
  /** Where each key is. */
  keys: Map<string, number>;
}

interface Model {
  now_ms: number;
  /** In the order of creation, as Maps are. */
  constructs: Map<string, ModelConstruct>;
  sessions: Map<string, ModelSession>;
  /** Open tails, and how far each has read. */
  tails: Map<number, { session_id: string; position: number }>;
}

interface Real {
  store: TestStore;
  context: Context;
  tails: Map<number, Tail>;
  /** The control: after sealing, a read forgets its last line. */
  forgetful: boolean;
  commands: number;
}

/** What is expected instead of an answer. */
class Refusal {
  readonly code: string;
  readonly members: Record<string, unknown>;

  constructor(code: string, members: Record<string, unknown> = {}) {
    this.code = code;
    this.members = members;
  }
}

const CONSTRUCT_IDS = Array.from({ length: 6 }, (_, index) => `01940000-0000-7000-8000-0000000000c${index}`);
const SESSION_IDS = Array.from({ length: 5 }, (_, index) => `01940000-0000-7000-8000-0000000000e${index}`);
const NO_HEAD = "0".repeat(64);

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}

/** As it comes over the wire: absent members are absent. */
function plain<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

function lineOf(seq: number, sent: SentEntry, actor: string, at_ms: number, received_at_ms: number): string {
  const key = sent.key === undefined ? "" : `"key":${JSON.stringify(sent.key)},`;
  return `{"received_at_ms":${received_at_ms},"seq":${seq},"kind":"${sent.kind}","actor":"${actor}","at_ms":${at_ms},${key}"body":${sent.body}}`;
}

function headOf(session: ModelSession, seq: number): string {
  return seq === 0 ? NO_HEAD : session.entries[seq - 1]!.head;
}

/** The members that were sent are compared. */
function isRepeated(sent: SentEntry, entry: ModelEntry | undefined): boolean {
  if (entry === undefined) return false;
  const { kind, actor, at_ms, key, body } = sent;
  return (
    entry.sent.kind === kind &&
    entry.sent.body === body &&
    (key === undefined || entry.sent.key === key) &&
    (actor === undefined || entry.actor === actor) &&
    (at_ms === undefined || entry.at_ms === at_ms)
  );
}

function refusedSession(model: Model, id: string): Refusal | null {
  const session = model.sessions.get(id);
  if (session === undefined) return new Refusal("not_found");
  if (
    session.row.deleted_at_ms !== null ||
    model.constructs.get(session.row.construct_id)?.row.deleted_at_ms !== null
  )
    return new Refusal("gone");
  return null;
}

/** What an append must answer; stores what it appends. */
function modelAppend(
  model: Model,
  id: string,
  sent: readonly SentEntry[],
  after: number | undefined,
): AppendResult | Refusal {
  const firsts = sent.map(({ key }, index) =>
    key === undefined ? index : sent.findIndex((other) => other.key === key),
  );
  if (firsts.some((first, index) => canonical(sent[first]) !== canonical(sent[index])))
    return new Refusal("conflict");
  const refusal = refusedSession(model, id);
  if (refusal !== null) return refusal;
  const session = model.sessions.get(id)!;
  const { entries, keys } = session;
  const standing = { last_seq: entries.length, head: headOf(session, entries.length) };
  const known = sent.map(({ key }) => (key === undefined ? undefined : keys.get(key)));
  if (known.some((seq, index) => seq !== undefined && !isRepeated(sent[index]!, entries[seq - 1])))
    return new Refusal("conflict", standing);
  const has_keys = sent.some(({ key }) => key !== undefined);
  if (known.every((seq) => seq !== undefined))
    return answerOf(session, Math.min(...known), Math.max(...known), known, has_keys);

  // What the request brings at the place where it wants to be: not what was there before that place.
  const place = after ?? entries.length;
  const fresh = sent
    .map((_, index) => index)
    .filter((index) => firsts[index] === index && (known[index] === undefined || known[index] > place));
  const seqs = sent.map((_, index) =>
    fresh.includes(firsts[index]!) ? place + 1 + fresh.indexOf(firsts[index]!) : known[index],
  );
  if (place !== entries.length) {
    const repeated =
      place < entries.length &&
      fresh.every((index, offset) => isRepeated(sent[index]!, entries[place + offset]));
    return repeated
      ? answerOf(session, place + 1, place + fresh.length, seqs, has_keys)
      : new Refusal("conflict", standing);
  }
  for (const index of fresh) addEntry(session, sent[index]!, model.now_ms);
  const result = answerOf(session, place + 1, place + fresh.length, seqs, has_keys);
  return {
    ...result,
    replayed: false,
    ...(result.items && {
      items: result.items.map((item, index) => ({ ...item, replayed: !fresh.includes(index) })),
    }),
  };
}

function answerOf(
  session: ModelSession,
  first_seq: number,
  last_seq: number,
  seqs: readonly (number | undefined)[],
  has_keys: boolean,
): AppendResult {
  const { received_at_ms, head } = session.entries[last_seq - 1]!;
  return {
    first_seq,
    last_seq,
    head,
    received_at_ms,
    replayed: true,
    ...(has_keys && { items: seqs.map((seq) => ({ seq: seq ?? 0, replayed: true })) }),
  };
}

function addEntry(session: ModelSession, sent: SentEntry, now_ms: number): void {
  const { entries, keys } = session;
  const seq = entries.length + 1;
  const actor = sent.actor ?? "agent";
  const at_ms = sent.at_ms ?? now_ms;
  const line = lineOf(seq, sent, actor, at_ms, now_ms);
  const head = createHash("sha256")
    .update(Buffer.from(headOf(session, seq - 1), "hex"))
    .update(line.slice(line.indexOf('"seq"')))
    .digest("hex");
  entries.push({
    sent,
    actor,
    at_ms,
    received_at_ms: now_ms,
    line,
    bytes: Buffer.byteLength(line) + 1,
    head,
  });
  if (sent.key !== undefined) keys.set(sent.key, seq);
}

function sessionRow(session: ModelSession): Session {
  return {
    ...session.row,
    last_seq: session.entries.length,
    head: headOf(session, session.entries.length),
    dropped_through_seq: 0,
  };
}

// ---------------------------------------------------------------- comparing

/** The answer must be the expected one, or the refusal must be. */
async function expectAnswer<T>(doing: Promise<T>, expected: T | Refusal, what: string): Promise<void> {
  let found: T;
  try {
    found = await doing;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (!(expected instanceof Refusal))
      throw new Error(
        `${what}: refused with ${error.code} (${error.message}) instead of ${JSON.stringify(expected)?.slice(0, 300)}`,
        { cause: error },
      );
    deepStrictEqual(error.code, expected.code, what);
    for (const [name, value] of Object.entries(expected.members))
      deepStrictEqual(error.extra.members?.[name], value, `${what}: member ${name}`);
    return;
  }
  if (expected instanceof Refusal)
    throw new Error(
      `${what}: answered with ${JSON.stringify(found)?.slice(0, 300)} instead of ${expected.code}`,
    );
  deepStrictEqual(plain(found), plain(expected), what);
}

function linesOf(pieces: readonly Uint8Array[]): string[] {
  const text = Buffer.concat(pieces).toString("utf8");
  ok(text === "" || text.endsWith("\n"), "lines end with a newline");
  return text.split("\n").slice(0, -1);
}

/** A line as pages and tails give it: whole, or as a preview. */
function expectShown(found: string, entry: ModelEntry, what: string): void {
  if (entry.bytes <= limit("inline_item_bytes")) {
    ok(found === entry.line, `${what}: ${found.slice(0, 200)} instead of ${entry.line.slice(0, 200)}`);
    return;
  }
  const item = JSON.parse(found) as { seq: number; body: unknown; body_bytes: number; preview: string };
  deepStrictEqual(
    [item.seq, item.body, item.body_bytes],
    [(JSON.parse(entry.line) as { seq: number }).seq, null, Buffer.byteLength(entry.sent.body)],
    what,
  );
  ok(item.preview.length > 0 && entry.sent.body.startsWith(item.preview), `${what}: the preview`);
}

function expectShownAll(found: readonly string[], expected: readonly ModelEntry[], what: string): void {
  deepStrictEqual(found.length, expected.length, `${what}: how many`);
  for (const [index, entry] of expected.entries()) expectShown(found[index]!, entry, what);
}

async function collect(stream: AsyncGenerator<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

const whole = (entries: readonly ModelEntry[]): string => entries.map(({ line }) => `${line}\n`).join("");

/** One session read in every way. */
async function expectSession(model: Model, real: Real, id: string): Promise<void> {
  const { context } = real;
  const session = model.sessions.get(id);
  const refusal = refusedSession(model, id);
  await expectAnswer(getSession(context, id), refusal ?? sessionRow(session!), "getSession");
  if (refusal !== null || session === undefined) {
    await expectAnswer(streamTranscript(context, id, "identity"), refusal!, "streamTranscript");
    return;
  }
  ok(
    (await collect(await streamTranscript(context, id, "identity"))).toString("utf8") ===
      whole(session.entries),
    "the transcript",
  );
  const compressed = await collect(await streamTranscript(context, id, "zstd"));
  ok(
    (compressed.byteLength === 0 ? "" : zstdDecompressSync(compressed).toString("utf8")) ===
      whole(session.entries),
    "the compressed transcript",
  );
}

// ---------------------------------------------------------------- commands

/** A step: does the thing on both sides and compares. */
abstract class Step implements fc.AsyncCommand<Model, Real> {
  check(): boolean {
    return true;
  }

  abstract act(model: Model, real: Real): Promise<void>;

  async run(model: Model, real: Real): Promise<void> {
    real.commands += 1;
    await this.act(model, real);
  }

  toString(): string {
    return `${this.constructor.name}(${JSON.stringify(this, (_, value: unknown) => (typeof value === "string" && value.length > 80 ? `${value.slice(0, 60)}…${value.length}` : value))})`;
  }
}

type Expectation = "any" | "current" | "stale" | "several";

function expectedRevisions(expectation: Expectation, revision: number): "*" | number[] {
  if (expectation === "any") return "*";
  if (expectation === "current") return [revision];
  return expectation === "several" ? [revision + 7, revision] : [revision + 1];
}

function changed<Row extends object>(current: Row, patch: object): string[] {
  return Object.entries(patch)
    .filter(
      ([name, value]) => value !== undefined && canonical(value) !== canonical(current[name as keyof Row]),
    )
    .map(([name]) => name);
}

class CreateConstruct extends Step {
  constructor(
    readonly slot: number,
    readonly input: ConstructCreate,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = CONSTRUCT_IDS[this.slot]!;
    const input = { ...this.input, id };
    const before = model.constructs.get(id);
    const created_by = canonical(this.input);
    let expected: { created: boolean; row: Construct } | Refusal;
    if (before !== undefined) {
      expected =
        before.created_by !== created_by
          ? new Refusal("conflict")
          : before.row.deleted_at_ms !== null
            ? new Refusal("gone")
            : { created: false, row: before.row };
    } else if (this.input.workspace_id !== undefined && this.input.workspace_id !== DEFAULT_WORKSPACE_ID)
      expected = new Refusal("invalid_request");
    else {
      const { now_ms } = model;
      const row: Construct = {
        id,
        workspace_id: DEFAULT_WORKSPACE_ID,
        title: input.title,
        brief: input.brief ?? "",
        type: input.type ?? "task",
        status: input.status ?? "draft",
        labels: (input.labels ?? []).toSorted(),
        agent: input.agent ?? null,
        branch: input.branch ?? null,
        worktree_path: input.worktree_path ?? null,
        pinned: input.pinned ?? false,
        metadata: input.metadata ?? {},
        status_since_at_ms: now_ms,
        revision: 1,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
        deleted_at_ms: null,
      };
      model.constructs.set(id, {
        row,
        created_by,
        statuses: [
          { status: row.status, from_at_ms: now_ms, until_at_ms: null, actor: "user", reason: null },
        ],
      });
      expected = { created: true, row };
    }
    await expectAnswer(createConstruct(real.context, input, caller), expected, "createConstruct");
  }
}

class UpdateConstruct extends Step {
  constructor(
    readonly slot: number,
    readonly patch: ConstructPatch,
    readonly expectation: Expectation,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = CONSTRUCT_IDS[this.slot]!;
    const found = model.constructs.get(id);
    const expected = expectedRevisions(this.expectation, found?.row.revision ?? 1);
    let answer: Construct | Refusal;
    if (found === undefined) answer = new Refusal("not_found");
    else if (found.row.deleted_at_ms !== null) answer = new Refusal("gone");
    else if (this.expectation === "stale")
      answer = new Refusal("precondition_failed", { revision: found.row.revision });
    else answer = this.apply(model, found);
    await expectAnswer(
      updateConstruct(real.context, id, this.patch, expected, caller),
      answer,
      "updateConstruct",
    );
  }

  apply(model: Model, found: ModelConstruct): Construct {
    const { status_reason, ...given } = this.patch;
    const values = { ...given, ...(given.labels && { labels: given.labels.toSorted() }) };
    const fields = changed(found.row, values);
    if (fields.length === 0) return found.row;
    const { now_ms } = model;
    const row = {
      ...found.row,
      ...plain(values),
      revision: found.row.revision + 1,
      updated_at_ms: now_ms,
    } as Construct;
    if (fields.includes("status")) {
      row.status_since_at_ms = now_ms;
      found.statuses.at(-1)!.until_at_ms = now_ms;
      found.statuses.push({
        status: row.status,
        from_at_ms: now_ms,
        until_at_ms: null,
        actor: "user",
        reason: status_reason ?? null,
      });
    }
    found.row = row;
    return row;
  }
}

class DeleteConstruct extends Step {
  constructor(
    readonly slot: number,
    readonly expectation: Expectation,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = CONSTRUCT_IDS[this.slot]!;
    const found = model.constructs.get(id);
    const expected = expectedRevisions(this.expectation, found?.row.revision ?? 1);
    let answer: undefined | Refusal;
    if (found === undefined) answer = new Refusal("not_found");
    else if (found.row.deleted_at_ms !== null) answer = new Refusal("gone");
    else if (this.expectation === "stale") answer = new Refusal("precondition_failed");
    else
      found.row = {
        ...found.row,
        deleted_at_ms: model.now_ms,
        updated_at_ms: model.now_ms,
        revision: found.row.revision + 1,
      };
    const doing = deleteConstruct(real.context, id, expected, caller).then(() => null);
    await expectAnswer<null>(doing, answer ?? null, "deleteConstruct");
  }
}

class UndeleteConstruct extends Step {
  constructor(readonly slot: number) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = CONSTRUCT_IDS[this.slot]!;
    const found = model.constructs.get(id);
    if (found !== undefined && found.row.deleted_at_ms !== null)
      found.row = {
        ...found.row,
        deleted_at_ms: null,
        updated_at_ms: model.now_ms,
        revision: found.row.revision + 1,
      };
    await expectAnswer(
      undeleteConstruct(real.context, id, caller),
      found?.row ?? new Refusal("not_found"),
      "undeleteConstruct",
    );
    const refusal = found === undefined ? new Refusal("not_found") : null;
    await expectAnswer(getConstruct(real.context, id), refusal ?? found!.row, "getConstruct");
    await expectAnswer(
      listStatuses(real.context, id),
      refusal ?? { items: found!.statuses, next_cursor: null },
      "listStatuses",
    );
  }
}

interface ConstructQuestion {
  deleted: boolean;
  status?: Construct["status"][];
  label?: string[];
  agent?: string[];
  pinned?: boolean;
  q?: string;
  metadata?: Record<string, string[]>;
}

/** SQLite's LIKE and NOCASE fold ASCII letters only. */
function foldAscii(text: string): string {
  return text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
}

/** Titles are compared by their bytes, in any case. */
function compareValues(a: string | number, b: string | number): number {
  return typeof a === "number"
    ? a - Number(b)
    : Buffer.compare(Buffer.from(foldAscii(a)), Buffer.from(foldAscii(String(b))));
}

class ListConstructs extends Step {
  constructor(
    readonly question: ConstructQuestion,
    readonly sort: ConstructSort,
    readonly order: "asc" | "desc",
    readonly page_limit: number,
  ) {
    super();
  }

  matches({ row }: ModelConstruct): boolean {
    const { deleted, status, label, agent, pinned, q, metadata } = this.question;
    if ((row.deleted_at_ms !== null) !== deleted) return false;
    if (status !== undefined && !status.includes(row.status)) return false;
    if (label !== undefined && !row.labels.some((one) => label.includes(one))) return false;
    if (agent !== undefined && (row.agent === null || !agent.includes(row.agent))) return false;
    if (pinned !== undefined && row.pinned !== pinned) return false;
    if (q !== undefined && ![row.title, row.brief].some((text) => foldAscii(text).includes(foldAscii(q))))
      return false;
    return Object.entries(metadata ?? {}).every(
      ([key, values]) => row.metadata[key] !== undefined && values.includes(row.metadata[key]),
    );
  }

  async act(model: Model, real: Real): Promise<void> {
    const column = (
      {
        updated: "updated_at_ms",
        created: "created_at_ms",
        status_since: "status_since_at_ms",
        title: "title",
      } as const
    )[this.sort];
    const sign = this.order === "asc" ? 1 : -1;
    const expected = [...model.constructs.values()]
      .map((construct, place) => ({ construct, place }))
      .filter(({ construct }) => this.matches(construct))
      .sort(
        (a, b) =>
          sign * (compareValues(a.construct.row[column], b.construct.row[column]) || a.place - b.place),
      )
      .map(({ construct }) => construct.row);
    const found: Construct[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await listConstructs(
        real.context,
        this.question,
        { sort: this.sort, order: this.order },
        { limit: this.page_limit, count: true, ...(cursor !== undefined && { cursor }) },
      );
      deepStrictEqual(page.total_count, expected.length, "listConstructs: total_count");
      ok(
        page.items.length <= this.page_limit &&
          (page.next_cursor === null || page.items.length === this.page_limit),
        "listConstructs: size of a page",
      );
      found.push(...page.items);
      cursor = page.next_cursor;
    }
    deepStrictEqual(found, expected, "listConstructs");
  }
}

class CreateSession extends Step {
  constructor(
    readonly slot: number,
    readonly construct_slot: number,
    readonly parent_slot: number | null,
    readonly input: Omit<SessionCreate, "construct_id">,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const given = {
      ...this.input,
      construct_id: CONSTRUCT_IDS[this.construct_slot]!,
      ...(this.parent_slot !== null && { parent_id: SESSION_IDS[this.parent_slot]! }),
    };
    await expectAnswer(
      createSession(real.context, { ...given, id }, caller),
      this.expected(model, id, given),
      "createSession",
    );
  }

  expected(model: Model, id: string, given: SessionCreate): { created: boolean; row: Session } | Refusal {
    const created_by = canonical(given);
    const before = model.sessions.get(id);
    if (before !== undefined) {
      if (before.created_by !== created_by) return new Refusal("conflict");
      return before.row.deleted_at_ms !== null
        ? new Refusal("gone")
        : { created: false, row: sessionRow(before) };
    }
    const construct = model.constructs.get(given.construct_id);
    if (construct === undefined) return new Refusal("invalid_request");
    if (construct.row.deleted_at_ms !== null) return new Refusal("gone");
    if (
      given.parent_id != null &&
      model.sessions.get(given.parent_id)?.row.construct_id !== given.construct_id
    )
      return new Refusal("invalid_request");
    const { now_ms } = model;
    const row: ModelSession["row"] = {
      id,
      construct_id: given.construct_id,
      parent_id: given.parent_id ?? null,
      title: given.title ?? "",
      agent: given.agent ?? null,
      model: given.model ?? null,
      status: given.status ?? "active",
      external_id: given.external_id ?? null,
      working_directory: null,
      branch: null,
      started_at_ms: given.started_at_ms ?? now_ms,
      ended_at_ms: given.ended_at_ms ?? null,
      metadata: given.metadata ?? {},
      status_since_at_ms: now_ms,
      revision: 1,
      created_at_ms: now_ms,
      updated_at_ms: now_ms,
      deleted_at_ms: null,
    };
    const session: ModelSession = { row, created_by, entries: [], keys: new Map() };
    model.sessions.set(id, session);
    return { created: true, row: sessionRow(session) };
  }
}

class UpdateSession extends Step {
  constructor(
    readonly slot: number,
    readonly patch: SessionPatch,
    readonly expectation: Expectation,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const session = model.sessions.get(id);
    const expected = expectedRevisions(this.expectation, session?.row.revision ?? 1);
    let answer: Session | Refusal | null = refusedSession(model, id);
    if (answer === null && this.expectation === "stale")
      answer = new Refusal("precondition_failed", { revision: session!.row.revision });
    if (answer === null) {
      const fields = changed(session!.row, this.patch);
      if (fields.length > 0) {
        const row = {
          ...session!.row,
          ...plain(this.patch),
          revision: session!.row.revision + 1,
          updated_at_ms: model.now_ms,
        } as ModelSession["row"];
        if (fields.includes("status")) {
          row.status_since_at_ms = model.now_ms;
          if (row.status === "ended" && this.patch.ended_at_ms === undefined && row.ended_at_ms === null)
            row.ended_at_ms = model.now_ms;
        }
        session!.row = row;
      }
      answer = sessionRow(session!);
    }
    await expectAnswer(
      updateSession(real.context, id, this.patch, expected, caller),
      answer,
      "updateSession",
    );
  }
}

class DeleteSession extends Step {
  constructor(
    readonly slot: number,
    readonly expectation: Expectation,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const session = model.sessions.get(id);
    const expected = expectedRevisions(this.expectation, session?.row.revision ?? 1);
    let answer: null | Refusal = null;
    if (session === undefined) answer = new Refusal("not_found");
    else if (session.row.deleted_at_ms !== null) answer = new Refusal("gone");
    else if (this.expectation === "stale") answer = new Refusal("precondition_failed");
    else
      session.row = {
        ...session.row,
        deleted_at_ms: model.now_ms,
        updated_at_ms: model.now_ms,
        revision: session.row.revision + 1,
      };
    await expectAnswer<null>(
      deleteSession(real.context, id, expected, caller).then(() => null),
      answer,
      "deleteSession",
    );
  }
}

class UndeleteSession extends Step {
  constructor(readonly slot: number) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const session = model.sessions.get(id);
    if (session !== undefined && session.row.deleted_at_ms !== null)
      session.row = {
        ...session.row,
        deleted_at_ms: null,
        updated_at_ms: model.now_ms,
        revision: session.row.revision + 1,
      };
    await expectAnswer(
      undeleteSession(real.context, id, caller),
      session === undefined ? new Refusal("not_found") : sessionRow(session),
      "undeleteSession",
    );
  }
}

class ListSessions extends Step {
  constructor(
    readonly construct_slots: number[] | null,
    readonly status: Session["status"][] | null,
    readonly deleted: boolean,
    readonly sort: "updated" | "created",
    readonly order: "asc" | "desc",
    readonly page_limit: number,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const column = this.sort === "updated" ? "updated_at_ms" : "created_at_ms";
    const sign = this.order === "asc" ? 1 : -1;
    const construct_id = this.construct_slots?.map((slot) => CONSTRUCT_IDS[slot]!);
    const filter = {
      deleted: this.deleted,
      ...(construct_id && { construct_id }),
      ...(this.status && { status: this.status }),
    };
    const expected = [...model.sessions.values()]
      .map((session, place) => ({ session, place }))
      .filter(
        ({ session: { row } }) =>
          (row.deleted_at_ms !== null) === this.deleted &&
          model.constructs.get(row.construct_id)?.row.deleted_at_ms === null &&
          (construct_id?.includes(row.construct_id) ?? true) &&
          (this.status?.includes(row.status) ?? true),
      )
      .sort((a, b) => sign * (a.session.row[column] - b.session.row[column] || a.place - b.place))
      .map(({ session }) => sessionRow(session));
    const found: Session[] = [];
    for (let cursor: string | null | undefined; cursor !== null;) {
      const page = await listSessions(
        real.context,
        filter,
        { sort: this.sort, order: this.order },
        { limit: this.page_limit, count: true, ...(cursor !== undefined && { cursor }) },
      );
      deepStrictEqual(page.total_count, expected.length, "listSessions: total_count");
      found.push(...page.items);
      cursor = page.next_cursor;
    }
    deepStrictEqual(plain(found), plain(expected), "listSessions");
  }
}

type Place = "none" | "end" | "stale" | "beyond" | "foreign";

class Append extends Step {
  constructor(
    readonly slot: number,
    readonly sent: SentEntry[],
    readonly place: Place,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const last_seq = model.sessions.get(id)?.entries.length ?? 0;
    if (this.place === "foreign") {
      await expectAnswer(
        appendEntries(real.context, id, this.sent, { generation: CONSTRUCT_IDS[0]!, seq: last_seq }),
        new Refusal("conflict"),
        "append at another generation",
      );
      return;
    }
    const after = (
      { none: undefined, end: last_seq, stale: Math.max(0, last_seq - 1), beyond: last_seq + 1 } as const
    )[this.place];
    const expected = modelAppend(model, id, this.sent, after);
    const position =
      after === undefined
        ? undefined
        : { seq: after, ...(last_seq % 2 === 0 && { generation: real.context.store.generation }) };
    await expectAnswer(
      appendEntries(real.context, id, this.sent, position),
      expected,
      `append (${this.place})`,
    );
  }
}

/** What is there already, sent again, by place: with or without more behind it. */
class Repeat extends Step {
  constructor(
    readonly slot: number,
    readonly from: number,
    readonly count: number,
    readonly more: SentEntry[],
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const entries = model.sessions.get(id)?.entries ?? [];
    const after = entries.length === 0 ? 0 : this.from % entries.length;
    const sent = [...entries.slice(after, after + this.count).map((entry) => entry.sent), ...this.more];
    if (sent.length === 0) return;
    const expected = modelAppend(model, id, sent, after);
    await expectAnswer(appendEntries(real.context, id, sent, { seq: after }), expected, "append again");
  }
}

interface Question {
  place: "start" | "after" | "before" | "around";
  at: number;
  limit: number;
  max_bytes: number;
  kinds: EntryKind[] | null;
}

/** What a read takes from a list in one direction. */
function take(entries: readonly ModelEntry[], count: number, max_bytes: number): ModelEntry[] {
  const taken: ModelEntry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    if (taken.length >= count || (taken.length > 0 && bytes >= max_bytes)) break;
    taken.push(entry);
    bytes += entry.bytes;
  }
  return taken;
}

/** A walk over pages is cut here; the pages behind are like those before. */
const WALK_PAGES = 40;

class Page extends Step {
  constructor(
    readonly slot: number,
    readonly question: Question,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const { place, limit: count, max_bytes, kinds } = this.question;
    const refusal = refusedSession(model, id);
    const entries = model.sessions.get(id)?.entries ?? [];
    const seq = this.question.at % (entries.length + 3);
    const query: EntriesQuery = {
      limit: count,
      max_bytes,
      ...(kinds && { kinds }),
      ...(place === "after" && { after: seq }),
      ...(place === "before" && { before: seq + 1 }),
      ...(place === "around" && { around: seq + 1 }),
    };
    if (refusal !== null) return expectAnswer(pageEntries(real.context, id, query), refusal, "pageEntries");

    const wanted = (entry: ModelEntry): boolean => kinds === null || kinds.includes(entry.sent.kind);
    const at = place === "start" ? 0 : seq;
    const below = entries.slice(0, at).filter(wanted);
    const above = entries.slice(at).filter(wanted);
    const backwards = (some: readonly ModelEntry[], most: number, bytes: number): ModelEntry[] =>
      take(some.toReversed(), most, bytes).toReversed();
    let expected: ModelEntry[];
    if (place === "before") expected = backwards(below, count, max_bytes);
    else if (place === "around") {
      const earlier = count > 1 ? backwards(below, Math.floor(count / 2), Math.ceil(max_bytes / 2)) : [];
      const left = Math.max(1, max_bytes - earlier.reduce((sum, entry) => sum + entry.bytes, 0));
      expected = [...earlier, ...take(above, count - earlier.length, left)];
    } else expected = take(above, count, max_bytes);
    const page = await pageEntries(real.context, id, query);
    const what = `pageEntries ${JSON.stringify({ ...query })}`;
    expectShownAll(linesOf(page.pieces), expected, what);
    const seqs = expected.map((entry) => entries.indexOf(entry) + 1);
    deepStrictEqual(
      [page.first_seq, page.last_seq],
      [seqs[0] ?? null, seqs.at(-1) ?? null],
      `${what}: its ends`,
    );
    await this.walk(
      real,
      id,
      query,
      page.next_cursor,
      "next_cursor",
      place === "before" ? above : above.slice(expected.filter((entry) => above.includes(entry)).length),
      what,
    );
    await this.walk(
      real,
      id,
      query,
      page.prev_cursor,
      "prev_cursor",
      place === "start" || place === "after"
        ? below
        : below.slice(0, below.length - expected.filter((entry) => below.includes(entry)).length),
      what,
    );
  }

  /** From cursor to cursor, everything that is left in one direction comes, and then the cursor is null. */
  async walk(
    real: Real,
    id: string,
    query: EntriesQuery,
    from: string | null,
    name: "next_cursor" | "prev_cursor",
    left: readonly ModelEntry[],
    what: string,
  ): Promise<void> {
    const { limit: count, max_bytes, kinds } = query;
    const found: string[] = [];
    let cursor = from;
    for (let pages = 0; cursor !== null; pages += 1) {
      if (pages === WALK_PAGES) break;
      const page = await pageEntries(real.context, id, {
        limit: count,
        max_bytes,
        ...(kinds && { kinds }),
        cursor,
      });
      const lines = linesOf(page.pieces);
      if (kinds === undefined) ok(lines.length > 0, `${what}: an empty page by ${name}`);
      if (name === "next_cursor") found.push(...lines);
      else found.unshift(...lines);
      cursor = page[name];
    }
    if (cursor === null) deepStrictEqual(found.length, left.length, `${what}: entries by ${name}`);
    expectShownAll(
      found,
      name === "next_cursor" ? left.slice(0, found.length) : left.slice(left.length - found.length),
      `${what} by ${name}`,
    );
  }
}

class Stream extends Step {
  constructor(
    readonly slot: number,
    readonly after: number | null,
    readonly before: number | null,
    readonly count: number | null,
    readonly kinds: EntryKind[] | null,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    await expectSession(model, real, id);
    if (refusedSession(model, id) !== null) return;
    const { entries } = model.sessions.get(id)!;
    const after = this.after === null ? undefined : this.after % (entries.length + 2);
    const before = this.before === null ? undefined : 1 + (this.before % (entries.length + 2));
    const query = {
      ...(after !== undefined && { after }),
      ...(before !== undefined && { before }),
      ...(this.count !== null && { limit: this.count }),
      ...(this.kinds && { kinds: this.kinds }),
    };
    const expected = entries
      .slice(after ?? 0, before === undefined ? undefined : Math.max(0, before - 1))
      .filter(({ sent }) => this.kinds?.includes(sent.kind) ?? true)
      .slice(0, this.count ?? undefined);
    ok(
      (await collect(await streamEntries(real.context, id, query))).toString("utf8") === whole(expected),
      `streamEntries ${JSON.stringify(query)}`,
    );
  }
}

class Single extends Step {
  constructor(
    readonly slot: number,
    readonly at: number,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const id = SESSION_IDS[this.slot]!;
    const entries = model.sessions.get(id)?.entries ?? [];
    const seq = 1 + (this.at % (entries.length + 2));
    const refusal = refusedSession(model, id) ?? (seq > entries.length ? new Refusal("not_found") : null);
    await expectAnswer(
      getEntry(real.context, id, seq).then((line) => Buffer.from(line).toString("utf8")),
      refusal ?? entries[seq - 1]!.line,
      `getEntry ${seq}`,
    );
    const session = model.sessions.get(id);
    const head = await real.context.store.entries.head(id);
    deepStrictEqual(
      head,
      session === undefined
        ? null
        : { last_seq: entries.length, head: headOf(session, entries.length), dropped_through_seq: 0 },
      "head",
    );
    if (session !== undefined)
      deepStrictEqual(
        await real.context.store.entries.headAt(id, seq % (entries.length + 1)),
        headOf(session, seq % (entries.length + 1)),
        "headAt",
      );
  }
}

class OpenTail extends Step {
  constructor(
    readonly slot: number,
    readonly tail: number,
    readonly at: number,
  ) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const session_id = SESSION_IDS[this.slot]!;
    const last_seq = model.sessions.get(session_id)?.entries.length ?? 0;
    const seq = this.at % (last_seq + 2);
    const refusal =
      refusedSession(model, session_id) ?? (seq > last_seq ? new Refusal("invalid_request") : null);
    const opened = openTail(real.context, session_id, seq === 0 ? undefined : { seq });
    await expectAnswer(
      opened.then(({ generation, reset }) => ({ generation, reset })),
      refusal ?? { generation: real.context.store.generation, reset: null },
      "openTail",
    );
    if (refusal !== null) return;
    real.tails.get(this.tail)?.close();
    real.tails.set(this.tail, await opened);
    model.tails.set(this.tail, { session_id, position: seq });
  }
}

class ReadTail extends Step {
  constructor(readonly tail: number) {
    super();
  }

  async act(model: Model, real: Real): Promise<void> {
    const tail = real.tails.get(this.tail);
    const state = model.tails.get(this.tail);
    if (tail === undefined || state === undefined) return;
    const { entries } = model.sessions.get(state.session_id)!;
    while (state.position < entries.length) {
      const step: TailStep = await tail.next(0);
      ok(step.step === "entries", `a tail is quiet at ${state.position} of ${entries.length}`);
      const lines = linesOf(step.pieces);
      deepStrictEqual(
        [step.first_seq, step.last_seq],
        [state.position + 1, state.position + lines.length],
        "a tail's step",
      );
      expectShownAll(lines, entries.slice(state.position, state.position + lines.length), "a tail");
      ok(lines.length > 0, "a step of a tail without entries");
      state.position += lines.length;
    }
    await expectAnswer(
      tail.next(0),
      refusedSession(model, state.session_id) ?? { step: "quiet" },
      "a tail at its end",
    );
  }
}

class SealAll extends Step {
  async act(_model: Model, real: Real): Promise<void> {
    await real.context.store.entries.sealAll();
    deepStrictEqual(real.context.store.stats().hot_rows_bytes, 0, "rows that are left after sealing");
    if (real.forgetful) forget(real);
  }
}

class Reopen extends Step {
  async act(_model: Model, real: Real): Promise<void> {
    await real.store.reopen();
  }
}

class Wait extends Step {
  constructor(readonly ms: number) {
    super();
  }

  override check(): boolean {
    return true;
  }

  async act(model: Model): Promise<void> {
    model.now_ms += this.ms;
  }
}

/** The control: reads lose their last line from now on. */
function forget(real: Real): void {
  const { entries } = real.context.store;
  const read = entries.read.bind(entries);
  entries.read = async (session_id, query) => {
    const lines = await read(session_id, query);
    const text = linesOf(lines.pieces);
    if (text.length < 2) return lines;
    return { ...lines, pieces: [Buffer.from(`${text.slice(0, -1).join("\n")}\n`)], count: lines.count - 1 };
  };
}

// ---------------------------------------------------------------- what is chosen from

const slot = (count: number): fc.Arbitrary<number> => fc.nat({ max: count - 1 });
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: 2 });

function members<T extends Record<string, fc.Arbitrary<unknown>>>(
  shape: T,
): fc.Arbitrary<{ [K in keyof T]?: T[K] extends fc.Arbitrary<infer V> ? Exclude<V, undefined> : never }> {
  return fc.record(shape, { requiredKeys: [] }) as never;
}

const TITLES = ["alpha", "Alpha", "beta", "Ärger", "ärger", "", "100% _\\", "zeta"] as const;
const STATUSES = ["draft", "active", "completed", "error"] as const;
const LABELS = ["x", "y", "z"] as const;
const AGENTS = ["codex", "claude code"] as const;
const KINDS: readonly EntryKind[] = ["message", "tool_call", "tool_result", "reasoning", "unparsed"];
const METADATA = [{}, { team: "a" }, { team: "b", ticket: "7" }, { ticket: "7" }] as const;

const construct_fields = {
  brief: fc.constantFrom("", "about Alpha", "Zeta"),
  type: fc.constantFrom("task", "bug"),
  status: fc.constantFrom(...STATUSES),
  labels: fc.uniqueArray(fc.constantFrom(...LABELS), { maxLength: 3 }),
  agent: fc.constantFrom(null, ...AGENTS),
  branch: fc.constantFrom(null, "main"),
  pinned: fc.boolean(),
  metadata: fc.constantFrom(...METADATA),
};

const construct_input = fc
  .tuple(
    fc.constantFrom(...TITLES),
    members(construct_fields),
    fc.boolean(),
    fc.constantFrom(0, 0, 0, 0, 0, 1, 2),
  )
  .map(([title, fields, spare, workspace]) => ({
    title,
    ...(spare ? fields : {}),
    ...(workspace === 1 && { workspace_id: DEFAULT_WORKSPACE_ID }),
    ...(workspace === 2 && { workspace_id: CONSTRUCT_IDS[0]! }),
  })) as fc.Arbitrary<ConstructCreate>;

const construct_patch = members({
  title: fc.constantFrom(...TITLES),
  ...construct_fields,
  status_reason: fc.constant("because"),
}) as fc.Arbitrary<ConstructPatch>;

const session_fields = {
  title: fc.constantFrom(...TITLES),
  agent: fc.constantFrom(null, ...AGENTS),
  status: fc.constantFrom("active", "waiting", "ended", "error"),
  external_id: fc.constantFrom(null, "their own id"),
  ended_at_ms: fc.constantFrom(null, 1_700_000_000_000),
  metadata: fc.constantFrom(...METADATA),
};
const session_input = members(session_fields) as fc.Arbitrary<Omit<SessionCreate, "construct_id">>;
const session_patch = members(session_fields) as fc.Arbitrary<SessionPatch>;

const expectation = fc.constantFrom<Expectation>("any", "current", "current", "several", "stale");

/** Spellings that must not change, and values of every size that the store treats differently. */
const ODD_BODIES = [
  "null",
  "0",
  "-0",
  "1.0",
  "1e2",
  "[]",
  "{}",
  '""',
  '"é😀"',
  '"\\ud83d"',
  '{"b":1,"a":[1 , 2]}',
  '"\\u0000"',
  '",\\"body\\":"',
] as const;

function longBody(size: number, salt: number): string {
  const word = createHash("sha256").update(String(salt)).digest("base64");
  return JSON.stringify(`${salt}é${word.repeat(Math.ceil(size / word.length)).slice(0, size)}`);
}

const body = fc.oneof(
  { arbitrary: fc.constantFrom(...ODD_BODIES), weight: 6 },
  {
    arbitrary: fc
      .tuple(fc.nat({ max: 300 }), fc.nat({ max: 50 }))
      .map(([size, salt]) => longBody(size, salt)),
    weight: 20,
  },
  {
    arbitrary: fc
      .tuple(fc.nat({ max: 4_000 }), fc.nat({ max: 50 }))
      .map(([size, salt]) => longBody(size, salt)),
    weight: 8,
  },
  {
    arbitrary: fc
      .tuple(fc.integer({ min: 20_000, max: 70_000 }), fc.nat({ max: 9 }))
      .map(([size, salt]) => longBody(size, salt)),
    weight: 3,
  },
  // Around the bounds of a frame and of what is shown whole.
  {
    arbitrary: fc
      .tuple(fc.constantFrom(129_900, 130_900, 131_000, 140_000), fc.nat({ max: 99 }))
      .map(([size, salt]) => longBody(size + salt, salt)),
    weight: 1,
  },
  {
    arbitrary: fc
      .tuple(fc.constantFrom(261_900, 262_000, 300_000), fc.nat({ max: 99 }))
      .map(([size, salt]) => longBody(size + salt, salt)),
    weight: 1,
  },
);

const KEYS = ["a", "b", 'quote " and \\', "é😀", "k".repeat(200)] as const;

const entry = fc
  .record({
    kind: fc.constantFrom(...KINDS),
    actor: optional(fc.constantFrom("user", "agent", "tool")),
    at_ms: optional(fc.constantFrom(0, 1_700_000_000_000)),
    key: fc.oneof(
      { arbitrary: fc.constant(undefined), weight: 5 },
      { arbitrary: fc.constantFrom(...KEYS), weight: 2 },
    ),
    body,
  })
  .map((all) => plain(all)) as fc.Arbitrary<SentEntry>;

const bulk = fc
  .tuple(fc.integer({ min: 55, max: 130 }), fc.integer({ min: 2_000, max: 5_000 }), fc.nat({ max: 50 }))
  .map(([count, size, salt]) =>
    Array.from({ length: count }, (_, index): SentEntry => ({
      kind: KINDS[(index + salt) % KINDS.length]!,
      at_ms: index,
      body: longBody(size + index, salt + index),
    })),
  );

const many_small = fc.tuple(fc.integer({ min: 90, max: 230 }), fc.nat({ max: 50 })).map(([count, salt]) =>
  Array.from({ length: count }, (_, index): SentEntry => ({
    kind: KINDS[(index * 7 + salt) % KINDS.length]!,
    at_ms: index,
    body: `${salt}${index}`,
  })),
);

const entries = fc.oneof(
  { arbitrary: fc.array(entry, { minLength: 1, maxLength: 6 }), weight: 20 },
  { arbitrary: bulk, weight: 1 },
  { arbitrary: many_small, weight: 1 },
);
const kinds = fc.option(fc.uniqueArray(fc.constantFrom(...KINDS), { minLength: 1, maxLength: 2 }), {
  freq: 2,
});

const question: fc.Arbitrary<Question> = fc.record({
  place: fc.constantFrom("start", "after", "before", "around"),
  at: fc.nat({ max: 1_000 }),
  limit: fc.constantFrom(1, 2, 3, 7, 50, 500),
  max_bytes: fc.constantFrom(1, 150, 5_000, 100_000, 1 << 20, 8 << 20),
  kinds,
});

const construct_question = members({
  status: fc.uniqueArray(fc.constantFrom(...STATUSES), { minLength: 1, maxLength: 2 }),
  label: fc.uniqueArray(fc.constantFrom(...LABELS), { minLength: 1, maxLength: 2 }),
  agent: fc.uniqueArray(fc.constantFrom(...AGENTS), { minLength: 1, maxLength: 2 }),
  pinned: fc.boolean(),
  q: fc.constantFrom("ALPHA", "ärger", "%", "_\\", "zeta"),
  metadata: fc.constantFrom({ team: ["a"] }, { team: ["a", "b"] }, { team: ["b"], ticket: ["7"] }),
});

const lists = fc
  .tuple(
    fc.oneof({ arbitrary: fc.constant({}), weight: 1 }, { arbitrary: construct_question, weight: 2 }),
    fc.boolean(),
  )
  .map(([filter, deleted]) => ({ ...(filter as Omit<ConstructQuestion, "deleted">), deleted }));
const order = fc.constantFrom<"asc" | "desc">("asc", "desc");
const C = slot(CONSTRUCT_IDS.length);
/** The first sessions are used more often, so that some grow long. */
const S = fc.oneof({ arbitrary: slot(2), weight: 3 }, { arbitrary: slot(SESSION_IDS.length), weight: 2 });

const COMMANDS: fc.Arbitrary<fc.AsyncCommand<Model, Real>>[] = [
  fc.tuple(C, construct_input).map(([at, input]) => new CreateConstruct(at, input)),
  fc
    .tuple(C, construct_patch, expectation)
    .map(([at, patch, expected]) => new UpdateConstruct(at, patch, expected)),
  fc.tuple(C, expectation).map(([at, expected]) => new DeleteConstruct(at, expected)),
  C.map((at) => new UndeleteConstruct(at)),
  C.map((at) => new UndeleteConstruct(at)),
  fc
    .tuple(
      lists,
      fc.constantFrom<ConstructSort>("updated", "created", "status_since", "title"),
      order,
      fc.constantFrom(1, 2, 500),
    )
    .map((all) => new ListConstructs(...all)),
  fc.tuple(S, C, fc.option(S, { freq: 1 }), session_input).map((all) => new CreateSession(...all)),
  fc.tuple(S, session_patch, expectation).map((all) => new UpdateSession(...all)),
  fc.tuple(S, expectation).map((all) => new DeleteSession(...all)),
  S.map((at) => new UndeleteSession(at)),
  S.map((at) => new UndeleteSession(at)),
  fc
    .tuple(
      fc.option(fc.uniqueArray(C, { minLength: 1, maxLength: 3 })),
      fc.option(
        fc.uniqueArray(fc.constantFrom<Session["status"]>("active", "ended", "error"), { minLength: 1 }),
      ),
      fc.boolean(),
      fc.constantFrom<"updated" | "created">("updated", "created"),
      order,
      fc.constantFrom(1, 2, 500),
    )
    .map((all) => new ListSessions(...all)),
  ...Array.from({ length: 6 }, () =>
    fc
      .tuple(
        S,
        entries,
        fc.constantFrom<Place>("none", "none", "end", "end", "end", "stale", "beyond", "foreign"),
      )
      .map((all) => new Append(...all)),
  ),
  fc
    .tuple(
      S,
      fc.nat({ max: 1_000 }),
      fc.integer({ min: 1, max: 130 }),
      fc.oneof(
        { arbitrary: fc.constant<SentEntry[]>([]), weight: 3 },
        { arbitrary: fc.array(entry, { maxLength: 2 }), weight: 1 },
      ),
    )
    .map((all) => new Repeat(...all)),
  ...Array.from({ length: 3 }, () => fc.tuple(S, question).map((all) => new Page(...all))),
  fc
    .tuple(
      S,
      fc.option(fc.nat({ max: 500 })),
      fc.option(fc.nat({ max: 500 })),
      fc.option(fc.nat({ max: 300 })),
      kinds,
    )
    .map((all) => new Stream(...all)),
  fc.tuple(S, fc.nat({ max: 1_000 })).map((all) => new Single(...all)),
  fc.tuple(S, slot(3), fc.nat({ max: 300 })).map((all) => new OpenTail(...all)),
  slot(3).map((at) => new ReadTail(at)),
  fc.constant(new SealAll()),
  fc.constant(new Reopen()),
  fc.constantFrom(0, 1, 1_000).map((ms) => new Wait(ms)),
];

// ---------------------------------------------------------------- running

const START_MS = 1_800_000_000_000;

/** A construct with two sessions, so that a run does not spend its commands on empty hands. */
const BEGINNING: readonly Step[] = [
  new CreateConstruct(0, { title: "alpha" }),
  new CreateSession(0, 0, null, {}),
  new CreateSession(1, 0, 0, {}),
];

async function runCommands(
  commands: Iterable<fc.AsyncCommand<Model, Real>>,
  forgetful: boolean,
  total: { commands: number; entries: number; stored_ms: number },
): Promise<void> {
  const store = await openTestStore();
  const model: Model = { now_ms: START_MS, constructs: new Map(), sessions: new Map(), tails: new Map() };
  const { context } = store;
  context.clock = { now_ms: () => model.now_ms, elapsed_ms: () => performance.now() };
  const real: Real = { store, context, tails: new Map(), forgetful, commands: 0 };
  try {
    for (const step of BEGINNING) await step.run(model, real);
    await fc.asyncModelRun(() => ({ model, real }), commands);
    // Whatever was done: all of it is there, and again after a restart, and after sealing.
    for (const last of [new Reopen(), new SealAll(), new Reopen()]) {
      for (const id of SESSION_IDS) await expectSession(model, real, id);
      await last.run(model, real);
    }
    for (const id of SESSION_IDS) await expectSession(model, real, id);
    for (const deleted of [false, true])
      await new ListConstructs({ deleted }, "created", "asc", 2).run(model, real);
  } finally {
    total.commands += real.commands;
    for (const { entries: stored } of model.sessions.values()) total.entries += stored.length;
    for (const tail of real.tails.values()) tail.close();
    await store.remove();
  }
}

async function check(
  { seed, log }: CampaignOptions,
  runs: number,
  forgetful: boolean,
  time_limit_ms: number,
): Promise<CampaignResult> {
  const began = performance.now();
  const total = { commands: 0, entries: 0, stored_ms: 0 };
  const property = fc.asyncProperty(fc.commands(COMMANDS, { maxCommands: 60, size: "max" }), (commands) =>
    runCommands(commands, forgetful, total),
  );
  const details = await fc.check(property, { seed, numRuns: runs, interruptAfterTimeLimit: time_limit_ms });
  const failures: string[] = [];
  if (details.failed && details.counterexample !== null) {
    const cause =
      details.errorInstance instanceof Error ? details.errorInstance.message : String(details.errorInstance);
    failures.push(
      `seed ${seed}, path ${details.counterexamplePath}, after ${details.numShrinks} shrinks: ${cause}\n  ${String(details.counterexample[0]).replaceAll(/\),/g, "),\n  ")}`,
    );
  } else if (details.numRuns < runs)
    failures.push(`only ${details.numRuns} of ${runs} runs were done in ${time_limit_ms} ms`);
  log(`model: ${details.numRuns} runs, ${total.commands} commands, ${total.entries} entries`);
  return {
    cases: details.numRuns,
    failures,
    notes: {
      seed,
      commands: total.commands,
      entries: total.entries,
      shrinks: details.numShrinks,
      seconds: Number(((performance.now() - began) / 1_000).toFixed(1)),
    },
  };
}

/** 500 runs of up to 60 commands in full size, 25 in short. */
export function run(options: CampaignOptions): Promise<CampaignResult> {
  return options.size === "full" ? check(options, 500, false, 1_800_000) : check(options, 25, false, 60_000);
}

/** A store that forgets a line once it has sealed: a model that does not notice is blind. */
export function control(options: CampaignOptions): Promise<CampaignResult> {
  return check(options, 10, true, 5_000);
}
