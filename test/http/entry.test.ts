import { describe, expect, test } from "bun:test";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { Problem } from "../../src/errors.ts";
import { limit } from "../../src/limits.ts";
import { append, newSession, type OpenDoor, openDoor, problemIn } from "./open-door.ts";

interface PageJson {
  items: { seq: number; kind: string; body: unknown; body_bytes?: number; preview?: string }[];
  first_seq: number | null;
  last_seq: number | null;
  next_cursor: string | null;
  prev_cursor: string | null;
}

const NDJSON = { accept: "application/x-ndjson" };

/** A session with entries 1 to 20, of which every fifth is a note. */
async function twenty(open: OpenDoor): Promise<string> {
  const { path } = await newSession(open);
  const entries = Array.from({ length: 20 }, (_, index) => ({
    kind: (index + 1) % 5 === 0 ? "note" : "message",
    at_ms: 1,
    body: { n: index + 1 },
  }));
  await open.json(201, "POST", `${path}/entries`, { json: { entries } });
  return path;
}

const open = openDoor();
const { call, json } = open;
const path = await twenty(open);
const page = (query: string, at = path) => json<PageJson>(200, "GET", `${at}/entries${query}`);
const seqs = ({ items }: PageJson): number[] => items.map(({ seq }) => seq);
const range = (from: number, through: number): number[] =>
  Array.from({ length: through - from + 1 }, (_, index) => from + index);

describe("a page", () => {
  test("begins at the start when nothing is asked", async () => {
    const whole = await page("");
    expect(seqs(whole)).toEqual(range(1, 20));
    expect(whole).toMatchObject({ first_seq: 1, last_seq: 20, next_cursor: null, prev_cursor: null });
    expect(whole.items[0]).toEqual({
      received_at_ms: open.clock.at_ms,
      seq: 1,
      kind: "message",
      actor: "agent",
      at_ms: 1,
      body: { n: 1 },
    } as never);
  });

  test("goes on behind, ahead of and around a seq", async () => {
    expect(seqs(await page("?after=5&limit=3"))).toEqual([6, 7, 8]);
    expect(seqs(await page("?before=5&limit=3"))).toEqual([2, 3, 4]);
    expect(seqs(await page("?around=10&limit=5"))).toEqual(range(8, 12));
    expect(seqs(await page("?around=1&limit=4"))).toEqual([1, 2, 3, 4]);
    expect(seqs(await page("?before=1"))).toEqual([]);
    expect(seqs(await page("?after=20"))).toEqual([]);
    expect(seqs(await page("?after=1000"))).toEqual([]);
  });

  test("leads forward and back by cursors without loss, and by Link", async () => {
    const forward: number[] = [];
    let answer = await call("GET", `${path}/entries?after=3&limit=4`);
    for (;;) {
      forward.push(...seqs((await answer.json()) as PageJson));
      const next = /^<([^>]+)>/.exec(answer.headers.get("link") ?? "")?.[1];
      if (next === undefined) break;
      expect(next).not.toContain("after=");
      answer = await call("GET", next);
    }
    expect(forward).toEqual(range(4, 20));
    const back: number[] = [];
    for (let query: string | null = "?before=18&limit=4"; query !== null;) {
      const found: PageJson = await page(query);
      back.unshift(...seqs(found));
      query = found.prev_cursor === null ? null : `?limit=4&cursor=${found.prev_cursor}`;
    }
    expect(back).toEqual(range(1, 17));
  });

  test("holds at most the bytes that are asked, and always one entry", async () => {
    expect(seqs(await page("?max_bytes=1"))).toEqual([1]);
    expect((await page("?max_bytes=1")).next_cursor).not.toBeNull();
    expect(seqs(await page("?max_bytes=250")).length).toBeLessThan(5);
    expect((await call("GET", `${path}/entries?max_bytes=${limit("page_bytes")}`)).status).toBe(200);
    for (const query of [
      `max_bytes=${limit("page_bytes") + 1}`,
      "max_bytes=0",
      "limit=0",
      `limit=${limit("page_items_count") + 1}`,
    ])
      expect((await call("GET", `${path}/entries?${query}`)).status).toBe(422);
  });

  test("holds only the kinds that are asked, and refuses their cursor elsewhere", async () => {
    expect(seqs(await page("?kind=note"))).toEqual([5, 10, 15, 20]);
    expect(seqs(await page("?kind=note&kind=message&limit=2"))).toEqual([1, 2]);
    const { next_cursor } = await page("?kind=note&limit=1");
    expect(seqs(await page(`?kind=note&limit=1&cursor=${next_cursor}`))).toEqual([10]);
    expect((await call("GET", `${path}/entries?cursor=${next_cursor}`)).status).toBe(422);
    expect((await call("GET", `${path}/entries?kind=nothing`)).status).toBe(422);
  });

  test("may be empty and still lead on when it is filtered", async () => {
    const scanning = openDoor({ memory: { filtered_scan_count: 3 } });
    const at = await twenty(scanning);
    const found: number[] = [];
    let empty_count = 0;
    for (let query: string | null = "?kind=note"; query !== null;) {
      const one: PageJson = await scanning.json<PageJson>(200, "GET", `${at}/entries${query}`);
      found.push(...seqs(one));
      if (one.items.length === 0) {
        empty_count += 1;
        expect(one).toMatchObject({ first_seq: null, last_seq: null });
      }
      query = one.next_cursor === null ? null : `?kind=note&cursor=${one.next_cursor}`;
    }
    expect(found).toEqual([5, 10, 15, 20]);
    expect(empty_count).toBeGreaterThan(0);
  });

  test("takes one place to begin", async () => {
    for (const query of [
      "after=1&before=2",
      "around=1&after=1",
      "cursor=x&after=1",
      "before=0",
      "around=0",
      "after=-1",
      "after=1&after=1",
    ])
      expect((await call("GET", `${path}/entries?${query}`)).status).toBe(422);
  });

  test("of an empty session is an empty page", async () => {
    const { path: empty } = await newSession(open);
    expect(await page("", empty)).toEqual({
      items: [],
      first_seq: null,
      last_seq: null,
      next_cursor: null,
      prev_cursor: null,
    });
  });

  test("shows a large entry as a preview, between its neighbours; alone it is whole", async () => {
    const { path: at } = await newSession(open);
    const large = "é\n".repeat(limit("inline_item_bytes") / 3);
    await append(open, at, ["before", large, "after"]);
    const { items } = await page("", at);
    expect(items.map(({ body }) => body)).toEqual(["before", null, "after"]);
    expect(items[1]?.body_bytes).toBe(Buffer.byteLength(JSON.stringify(large)));
    expect(JSON.stringify(large).startsWith(items[1]?.preview ?? "x")).toBe(true);
    expect(items[1]?.preview?.length).toBe(limit("preview_characters"));
    expect(await json(200, "GET", `${at}/entries/2`)).toMatchObject({ seq: 2, body: large });
  });

  test("whose entries were dropped answers 410 with the first kept seq", async () => {
    const at = await twenty(open);
    open.store.drop(at.slice("/v1/sessions/".length), 7);
    const answer = await call("GET", `${at}/entries?after=3`);
    expect(answer.status).toBe(410);
    expect(await problemIn(answer)).toMatchObject({ code: "gone", first_seq: 8 });
    expect(seqs(await page("?limit=2", at))).toEqual([8, 9]);
    expect((await call("GET", `${at}/entries/7`)).status).toBe(410);
    expect((await call("GET", `${at}/entries/8`)).status).toBe(200);
  });

  test("comes compressed when asked, and says on what it depends", async () => {
    const answer = await call("GET", `${path}/entries`, { headers: { "accept-encoding": "gzip" } });
    expect(answer.headers.get("content-encoding")).toBe("gzip");
    expect(answer.headers.get("vary")).toBe("Accept, Accept-Encoding");
    expect(seqs(JSON.parse(gunzipSync(await answer.bytes()).toString()) as PageJson)).toEqual(range(1, 20));
  });
});

describe("a single entry", () => {
  test("is the stored line", async () => {
    const text = await (await call("GET", `${path}/entries/5`)).text();
    expect(text).toBe(
      `{"received_at_ms":${open.clock.at_ms},"seq":5,"kind":"note","actor":"agent","at_ms":1,"body":{"n":5}}`,
    );
  });

  test.each(["0", "-1", "x", "1.5", "01", "99999999999999999", "%00", "1%2f2"])(
    "%s is no number of one",
    async (seq) => expect((await call("GET", `${path}/entries/${seq}`)).status).toBe(422),
  );

  test("behind the end is not found", async () =>
    expect((await call("GET", `${path}/entries/21`)).status).toBe(404));
});

describe("a stream of NDJSON", () => {
  const lines = async (query: string): Promise<number[]> => {
    const answer = await call("GET", `${path}/entries${query}`, { headers: NDJSON });
    expect(answer.headers.get("content-type")).toBe("application/x-ndjson");
    return (await answer.text())
      .split("\n")
      .slice(0, -1)
      .map((line) => (JSON.parse(line) as { seq: number }).seq);
  };

  test("gives the range between after and before", async () => {
    expect(await lines("")).toEqual(range(1, 20));
    expect(await lines("?after=3&before=9")).toEqual(range(4, 8));
    expect(await lines("?limit=7&after=1")).toEqual(range(2, 8));
    expect(await lines("?limit=100000")).toEqual(range(1, 20));
    expect(await lines("?kind=note")).toEqual([5, 10, 15, 20]);
    expect(await lines("?after=20")).toEqual([]);
    expect(await lines("?before=1")).toEqual([]);
  });

  test("has bodies whole", async () => {
    const { path: at } = await newSession(open);
    const large = "x".repeat(limit("inline_item_bytes") * 2);
    await append(open, at, [large, "small"]);
    const answer = await call("GET", `${at}/entries`, { headers: NDJSON });
    expect(
      (await answer.text())
        .split("\n")
        .slice(0, -1)
        .map((line) => (JSON.parse(line) as { body: string }).body),
    ).toEqual([large, "small"]);
  });

  test("takes no cursor, no middle and no bytes", async () => {
    for (const query of ["cursor=x", "around=3", "max_bytes=9"])
      expect((await call("GET", `${path}/entries?${query}`, { headers: NDJSON })).status).toBe(422);
  });

  test.each([
    ["application/x-ndjson", true],
    ["application/x-ndjson, application/json;q=0.5", true],
    ["Application/X-NDJSON;q=0.1", true],
    ["application/json, application/x-ndjson;q=0.9", false],
    ["application/x-ndjson;q=0", false],
    ["*/*", false],
    ["text/html", false],
    ["application/x-ndjsonx", false],
  ])("Accept: %s", async (accept, streams) => {
    const answer = await call("GET", `${path}/entries`, { headers: { accept } });
    expect(answer.headers.get("content-type")).toBe(streams ? "application/x-ndjson" : "application/json");
    await answer.body?.cancel();
  });

  test("that fails before its first piece has its own status", async () => {
    const { read } = open.store.entries;
    open.store.entries.read = () => Promise.reject(new Error("the disk is gone"));
    const answer = await call("GET", `${path}/entries`, { headers: NDJSON });
    open.store.entries.read = read;
    expect(answer.status).toBe(500);
  });

  test("reads no further than it is taken, and ends its source when the reader leaves", async () => {
    const { path: at } = await newSession(open);
    for (let index = 0; index < 8; index += 1)
      await append(open, at, ["x".repeat(200_000), "x".repeat(200_000)]);
    let reads = 0;
    const { read } = open.store.entries;
    open.store.entries.read = (...args) => {
      reads += 1;
      return read(...args);
    };
    const answer = await call("GET", `${at}/entries`, { headers: NDJSON });
    const reader = answer.body?.getReader();
    await reader?.read();
    expect(reads).toBeLessThanOrEqual(2);
    expect(open.door.active_count).toBe(1);
    await reader?.cancel();
    expect(open.door.active_count).toBe(0);
    open.store.entries.read = read;
  });
});

describe("a transcript", () => {
  const whole = async (): Promise<string> => (await call("GET", `${path}/transcript`)).text();

  test("is all lines", async () => {
    const text = await whole();
    expect(
      text
        .split("\n")
        .slice(0, -1)
        .map((line) => (JSON.parse(line) as { seq: number }).seq),
    ).toEqual(range(1, 20));
  });

  test.each(["zstd", "gzip, deflate, br, zstd", "ZSTD;q=0.1"])(
    "passes stored frames on for Accept-Encoding: %s",
    async (accept_encoding) => {
      const { chunk } = open.store.entries;
      const frames: Uint8Array[] = [];
      open.store.entries.chunk = async (...args) => {
        const found = await chunk(...args);
        if (found !== null) frames.push(found.data);
        return found;
      };
      const answer = await call("GET", `${path}/transcript`, {
        headers: { "accept-encoding": accept_encoding },
      });
      const bytes = await answer.bytes();
      open.store.entries.chunk = chunk;
      expect(answer.headers.get("content-encoding")).toBe("zstd");
      expect(answer.headers.get("vary")).toBe("Accept-Encoding");
      expect(Buffer.concat(frames).equals(bytes)).toBe(true);
      expect(zstdDecompressSync(bytes).toString()).toBe(await whole());
    },
  );

  test.each(["gzip", "br, gzip;q=0.5, zstd;q=0"])(
    "is one gzip stream for Accept-Encoding: %s",
    async (accept_encoding) => {
      for (const [place, accept] of [
        [`${path}/transcript`, "*/*"],
        [`${path}/entries`, "application/x-ndjson"],
      ] as const) {
        const answer = await call("GET", place, {
          headers: { "accept-encoding": accept_encoding, accept },
        });
        expect(answer.headers.get("content-encoding")).toBe("gzip");
        expect(answer.headers.get("vary")).toContain("Accept-Encoding");
        expect(gunzipSync(await answer.bytes()).toString()).toBe(await whole());
      }
    },
  );

  test("as gzip ends its reading when the reader leaves", async () => {
    const { chunk } = open.store.entries;
    let failing = true;
    open.store.entries.chunk = async (...args) => {
      if (failing) throw new Problem("integrity_failed", "damaged");
      return chunk(...args);
    };
    const gzip = { headers: { "accept-encoding": "gzip" } };
    expect((await call("GET", `${path}/transcript`, gzip)).status).toBe(500);
    failing = false;
    const answer = await call("GET", `${path}/transcript`, gzip);
    await answer.body?.cancel();
    open.store.entries.chunk = chunk;
    expect(open.door.active_count).toBe(0);
  });

  test.each([undefined, "*", "zstd;q=0", "identity"])(
    "is plain for Accept-Encoding: %p",
    async (accept_encoding) => {
      const answer = await call("GET", `${path}/transcript`, {
        headers: { "accept-encoding": accept_encoding },
      });
      expect(answer.headers.get("content-encoding")).toBeNull();
      expect(await answer.text()).toBe(await whole());
    },
  );

  test("of an empty session is empty and has no coding", async () => {
    const { path: empty } = await newSession(open);
    const answer = await call("GET", `${empty}/transcript`, { headers: { "accept-encoding": "zstd" } });
    expect(answer.headers.get("content-encoding")).toBeNull();
    expect(await answer.text()).toBe("");
  });

  test("takes no parameters", async () =>
    expect((await call("GET", `${path}/transcript?after=1`)).status).toBe(422));
});
