/** Steps of a model run that append, read and follow transcripts, and what happens to the store meanwhile. */
import { deepStrictEqual, ok } from "node:assert";
import { appendEntries } from "../../src/core/append.ts";
import { type EntriesQuery, getEntry, pageEntries, streamEntries } from "../../src/core/entry.ts";
import { type TailStep, openTail } from "../../src/core/tail.ts";
import type { EntryKind, SentEntry } from "../../src/schema/entry.ts";
import {
  CONSTRUCT_IDS,
  type Model,
  type ModelEntry,
  type Real,
  Refusal,
  SESSION_IDS,
  Step,
  collect,
  expectAnswer,
  expectSession,
  expectShownAll,
  headOf,
  linesOf,
  modelAppend,
  refusedSession,
  whole,
} from "./model.ts";

export type Place = "none" | "end" | "stale" | "beyond" | "foreign";

export class Append extends Step {
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
export class Repeat extends Step {
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

export interface Question {
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

export class Page extends Step {
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

export class Stream extends Step {
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

export class Single extends Step {
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

export class OpenTail extends Step {
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

export class ReadTail extends Step {
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
      const lines = linesOf([step.lines]);
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

export class SealAll extends Step {
  async act(_model: Model, real: Real): Promise<void> {
    await real.context.store.entries.sealAll();
    deepStrictEqual(real.context.store.stats().hot_rows_bytes, 0, "rows that are left after sealing");
    if (real.forgetful) forget(real);
  }
}

export class Reopen extends Step {
  async act(_model: Model, real: Real): Promise<void> {
    await real.store.reopen();
  }
}

export class Wait extends Step {
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
