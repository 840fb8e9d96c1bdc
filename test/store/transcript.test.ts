/** Transcripts on real SQLite: rows, frames, sealing, merging, and every way to read them back. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { zstdDecompressSync } from "node:zlib";
import { appendEntries } from "../../src/core/append.ts";
import { getEntry, pageEntries, streamEntries, streamTranscript } from "../../src/core/entry.ts";
import { getSession } from "../../src/core/session.ts";
import { headAfterLines, headHex, ZERO_HEAD } from "../../src/lib/head.ts";
import { lineStarts, readHeader } from "../../src/lib/wire-line.ts";
import type { SentEntry } from "../../src/schema/entry.ts";
import { newSession, openTestStore, type TestStore } from "../support/store.ts";

let store: TestStore;
beforeAll(async () => {
  store = await openTestStore();
});
afterAll(() => store.remove());

const KINDS = ["message", "tool_call", "tool_result", "reasoning"] as const;

function entry(index: number, bytes: number): SentEntry {
  return {
    kind: KINDS[index % KINDS.length] ?? "message",
    at_ms: index,
    body: JSON.stringify({ index, text: `é${"x".repeat(bytes)}` }),
  };
}

async function collect(stream: AsyncGenerator<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

function lines(bytes: Uint8Array): string[] {
  return Buffer.from(bytes).toString("utf8").split("\n").slice(0, -1);
}

/** Reads the session in every way and compares each body with what was sent. */
async function verify(session_id: string, sent: readonly SentEntry[]): Promise<void> {
  const { context } = store;
  const session = await getSession(context, session_id);
  expect(session.last_seq).toBe(sent.length);
  const whole = await collect(await streamTranscript(context, session_id, "identity"));
  const bodies = lines(whole).map((line) =>
    line.slice(readHeader(Buffer.from(line)).body_start === 0 ? 0 : line.indexOf(',"body":') + 8, -1),
  );
  expect(bodies).toEqual(sent.map(({ body }) => body));
  expect(headHex(headAfterLines(ZERO_HEAD, whole, lineStarts(whole)))).toBe(session.head);
  const compressed = await collect(await streamTranscript(context, session_id, "zstd"));
  expect(zstdDecompressSync(compressed).equals(whole)).toBe(true);
  expect((await collect(await streamEntries(context, session_id, {}))).equals(whole)).toBe(true);
  const paged: string[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await pageEntries(context, session_id, {
      limit: 37,
      max_bytes: 1 << 20,
      ...(cursor !== undefined && { cursor }),
    });
    paged.push(...lines(Buffer.concat(page.pieces)));
    cursor = page.next_cursor;
  }
  expect(paged.map((line) => JSON.parse(line).seq)).toEqual(sent.map((_, index) => index + 1));
  const backward: string[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page = await pageEntries(context, session_id, {
      limit: 41,
      max_bytes: 1 << 20,
      ...(cursor === undefined ? { before: sent.length + 1 } : { cursor }),
    });
    backward.unshift(...lines(Buffer.concat(page.pieces)));
    cursor = page.prev_cursor;
  }
  expect(backward).toEqual(paged);
  for (const seq of [1, Math.ceil(sent.length / 2), sent.length]) {
    const line = Buffer.from(await getEntry(context, session_id, seq)).toString();
    expect(line.endsWith(`,"body":${sent[seq - 1]?.body}}`)).toBe(true);
    expect(await context.store.entries.headAt(session_id, seq)).toBe(
      headHex(headAfterLines(ZERO_HEAD, whole, lineStarts(whole), 0, seq)),
    );
  }
  const tools = await collect(await streamEntries(context, session_id, { kinds: ["tool_call"] }));
  expect(lines(tools).map((line) => JSON.parse(line).at_ms)).toEqual(
    sent.filter(({ kind }) => kind === "tool_call").map(({ at_ms }) => at_ms ?? 0),
  );
}

describe("a transcript", () => {
  test("is the same before sealing, after it, and after a restart", async () => {
    const { context } = store;
    const session = await newSession(context);
    const sent: SentEntry[] = [];
    for (let index = 0; index < 300; index += 1) {
      const one = entry(index, (index * 37) % 3_000);
      sent.push(one);
      await appendEntries(context, session.id, [one], { seq: index });
    }
    await verify(session.id, sent);
    await context.store.entries.sealAll();
    expect(context.store.stats().hot_rows_bytes).toBe(0);
    await verify(session.id, sent);
    await store.reopen();
    await verify(session.id, sent);
  });

  test("keeps large entries and bulk beside small ones, in order", async () => {
    const { context } = store;
    const session = await newSession(context);
    const sent: SentEntry[] = [];
    const send = async (entries: SentEntry[]): Promise<void> => {
      await appendEntries(context, session.id, entries, { seq: sent.length });
      sent.push(...entries);
    };
    await send([entry(0, 10)]);
    await send([entry(1, 200_000)]);
    await send([entry(2, 10), entry(3, 10)]);
    await send(Array.from({ length: 400 }, (_, index) => entry(4 + index, 2_000)));
    await send([entry(404, 300_000), entry(405, 5), entry(406, 2_000_000)]);
    await send([entry(407, 5)]);
    await verify(session.id, sent);
    await context.store.entries.sealAll();
    await verify(session.id, sent);
    const page = await pageEntries(context, session.id, { around: 407, limit: 3, max_bytes: 8 << 20 });
    const items = lines(Buffer.concat(page.pieces)).map((line) => JSON.parse(line));
    expect(items.map(({ seq }) => seq)).toEqual([406, 407, 408]);
    expect(items[1]).toMatchObject({ body: null, body_bytes: Buffer.byteLength(sent[406]?.body ?? "") });
    expect(sent[406]?.body.startsWith(items[1].preview)).toBe(true);
  });

  test("merges small frames as it grows", async () => {
    const { context } = store;
    const session = await newSession(context);
    const sent: SentEntry[] = [];
    for (let round = 0; round < 30; round += 1) {
      const one = entry(round, 9_000);
      await appendEntries(context, session.id, [one]);
      sent.push(one);
      await context.store.entries.sealAll();
    }
    await verify(session.id, sent);
  });

  test("concurrent writers lose nothing and double nothing", async () => {
    const { context } = store;
    const session = await newSession(context);
    const results = await Promise.all(
      Array.from({ length: 500 }, (_, index) =>
        appendEntries(context, session.id, [{ ...entry(index, 700), key: `k${index}` }]),
      ),
    );
    expect(new Set(results.map(({ last_seq }) => last_seq)).size).toBe(500);
    const again = await Promise.all(
      Array.from({ length: 500 }, (_, index) =>
        appendEntries(context, session.id, [{ ...entry(index, 700), key: `k${index}` }]),
      ),
    );
    expect(again.every(({ replayed }) => replayed)).toBe(true);
    expect(again.map(({ last_seq }) => last_seq)).toEqual(results.map(({ last_seq }) => last_seq));
    expect(again.map(({ head }) => head)).toEqual(results.map(({ head }) => head));
    expect((await getSession(context, session.id)).last_seq).toBe(500);
  });
});
