/**
 * A model of constructs, sessions and transcripts in plain Maps, which predicts what the rules answer, and the ways to
 * compare an answer with it. It shares no code with what it checks.
 */
import { deepStrictEqual, ok } from "node:assert";
import { createHash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import type { Context } from "../../src/core/context.ts";
import { streamTranscript } from "../../src/core/entry.ts";
import { getSession } from "../../src/core/session.ts";
import type { Tail } from "../../src/core/tail.ts";
import { Problem } from "../../src/errors.ts";
import { limit } from "../../src/limits.ts";
import type { Construct, StatusPeriod } from "../../src/schema/construct.ts";
import type { AppendResult, SentEntry } from "../../src/schema/entry.ts";
import type { Session } from "../../src/schema/session.ts";
import type { TestStore } from "./store.ts";

export interface ModelEntry {
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

export interface ModelConstruct {
  row: Construct;
  created_by: string;
  statuses: StatusPeriod[];
}

export interface ModelSession {
  row: Omit<Session, "last_seq" | "head" | "dropped_through_seq">;
  created_by: string;
  entries: ModelEntry[];
  /** Where each key is. */
  keys: Map<string, number>;
}

export interface Model {
  now_ms: number;
  /** In the order of creation, as Maps are. */
  constructs: Map<string, ModelConstruct>;
  sessions: Map<string, ModelSession>;
  /** Open tails, and how far each has read. */
  tails: Map<number, { session_id: string; position: number }>;
}

export interface Real {
  store: TestStore;
  context: Context;
  tails: Map<number, Tail>;
  /** The control: after sealing, a read forgets its last line. */
  forgetful: boolean;
  commands: number;
}

/** What is expected instead of an answer. */
export class Refusal {
  readonly code: string;
  readonly members: Record<string, unknown>;

  constructor(code: string, members: Record<string, unknown> = {}) {
    this.code = code;
    this.members = members;
  }
}

export const CONSTRUCT_IDS = Array.from(
  { length: 6 },
  (_, index) => `01940000-0000-7000-8000-0000000000c${index}`,
);
export const SESSION_IDS = Array.from(
  { length: 5 },
  (_, index) => `01940000-0000-7000-8000-0000000000e${index}`,
);
const NO_HEAD = "0".repeat(64);

export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}

/** As it comes over the wire: absent members are absent. */
export function plain<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

function lineOf(seq: number, sent: SentEntry, actor: string, at_ms: number, received_at_ms: number): string {
  const key = sent.key === undefined ? "" : `"key":${JSON.stringify(sent.key)},`;
  return `{"received_at_ms":${received_at_ms},"seq":${seq},"kind":"${sent.kind}","actor":"${actor}","at_ms":${at_ms},${key}"body":${sent.body}}`;
}

export function headOf(session: ModelSession, seq: number): string {
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

export function refusedSession(model: Model, id: string): Refusal | null {
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
export function modelAppend(
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

export function sessionRow(session: ModelSession): Session {
  return {
    ...session.row,
    last_seq: session.entries.length,
    head: headOf(session, session.entries.length),
    dropped_through_seq: 0,
  };
}

/** The answer must be the expected one, or the refusal must be. */
export async function expectAnswer<T>(doing: Promise<T>, expected: T | Refusal, what: string): Promise<void> {
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

export function linesOf(pieces: readonly Uint8Array[]): string[] {
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

export function expectShownAll(
  found: readonly string[],
  expected: readonly ModelEntry[],
  what: string,
): void {
  deepStrictEqual(found.length, expected.length, `${what}: how many`);
  for (const [index, entry] of expected.entries()) expectShown(found[index]!, entry, what);
}

export async function collect(stream: AsyncGenerator<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

export const whole = (entries: readonly ModelEntry[]): string =>
  entries.map(({ line }) => `${line}\n`).join("");

/** One session read in every way. */
export async function expectSession(model: Model, real: Real, id: string): Promise<void> {
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

/** A step: does the thing on both sides and compares. */
export abstract class Step implements fc.AsyncCommand<Model, Real> {
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
