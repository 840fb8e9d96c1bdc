/** Artifacts over HTTP: stored and served byte for byte, by range and line, and inert whatever they are. */
import { describe, expect, test } from "bun:test";
import { zstdDecompressSync } from "node:zlib";
import { limit } from "../../src/limits.ts";
import type { Artifact } from "../../src/schema/artifact.ts";
import { append, newSession, openDoor, type OpenDoor, problemIn, type Row } from "./open-door.ts";

const sha = (bytes: string | Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const digestField = (bytes: string): string =>
  `sha-256=:${new Bun.CryptoHasher("sha256").update(bytes).digest("base64")}:`;

const open = openDoor();

async function newConstruct(): Promise<string> {
  return (await open.json<Row>(201, "POST", "/v1/constructs", { json: { title: "artifacts" } })).id;
}

async function upload(
  construct_id: string,
  body: Bun.BodyInit,
  query: Record<string, string> = {},
  headers: Record<string, string> = {},
): Promise<Response> {
  const search = new URLSearchParams({ construct_id, ...query });
  return open.call("POST", `/v1/artifacts?${search.toString()}`, { body, headers });
}

async function stored(
  construct_id: string,
  body: Bun.BodyInit,
  query: Record<string, string> = {},
): Promise<Artifact> {
  const answer = await upload(construct_id, body, query);
  expect({ status: answer.status, text: answer.ok ? "" : await answer.text() }).toEqual({
    status: 201,
    text: "",
  });
  return (await answer.json()) as Artifact;
}

const content = (
  id: string,
  headers: Record<string, string> = {},
  door: OpenDoor = open,
): Promise<Response> => door.call("GET", `/v1/artifacts/${id}/content`, { headers });

/** The status of content that is not read. */
async function statusOf(answer: Promise<Response>): Promise<number> {
  const { status, body } = await answer;
  await body?.cancel();
  return status;
}

async function headersOf(answer: Promise<Response>): Promise<Headers> {
  const { headers, body } = await answer;
  await body?.cancel();
  return headers;
}

/** Waits until the file is compressed. */
async function compressed(id: string): Promise<Artifact> {
  for (let wait = 0; wait < 200; wait += 1) {
    const row = await open.json<Artifact>(200, "GET", `/v1/artifacts/${id}`);
    if (row.encoding === "zstd") return row;
    await Bun.sleep(10);
  }
  throw new Error("it is not compressed");
}

const LOG = Array.from({ length: 20_000 }, (_, index) => `line ${index + 1} of a log\n`).join("");

describe("an upload", () => {
  test("is answered with everything that is known of it", async () => {
    const { construct, session, path } = await newSession(open);
    await append(open, path, [1, 2]);
    const answer = await upload(
      construct.id,
      "diff --git",
      {
        type: "diff",
        name: "a/b.diff",
        session_id: session.id,
        entry_seq: "2",
        media_type: "text/x-diff",
        "metadata.tool": "git",
      },
      { "content-digest": digestField("diff --git") },
    );
    expect(answer.status).toBe(201);
    const row = (await answer.json()) as Artifact;
    expect(answer.headers.get("location")).toBe(`/v1/artifacts/${row.id}`);
    expect(row).toMatchObject({
      construct_id: construct.id,
      session_id: session.id,
      entry_seq: 2,
      type: "diff",
      name: "a/b.diff",
      media_type: "text/x-diff",
      state: "sealed",
      sha256: sha("diff --git"),
      size_bytes: 10,
      stored_bytes: 10,
      encoding: "identity",
      metadata: { tool: "git" },
    });
    expect(await (await content(row.id)).text()).toBe("diff --git");
  });

  test("takes its media type from Content-Type when nothing is said, but not what clients send by themselves", async () => {
    const construct_id = await newConstruct();
    const given = async (type: string): Promise<string> => {
      const answer = await upload(construct_id, "x", {}, { "content-type": type });
      return ((await answer.json()) as Artifact).media_type;
    };
    expect(await given("text/plain; charset=utf-8")).toBe("text/plain; charset=utf-8");
    expect(await given("application/x-www-form-urlencoded")).toBe("application/octet-stream");
  });

  test("with an id can be repeated, and not with other bytes", async () => {
    const construct_id = await newConstruct();
    const id = Bun.randomUUIDv7();
    expect((await upload(construct_id, "x", { id, name: "n" })).status).toBe(201);
    const again = await upload(construct_id, "x", { id, name: "n" });
    expect([again.status, ((await again.json()) as Artifact).id]).toEqual([200, id]);
    expect((await upload(construct_id, "y", { id, name: "n" })).status).toBe(409);
    expect(await (await content(id)).text()).toBe("x");
  });

  test("of other bytes than were said is refused, and nothing is kept", async () => {
    const construct_id = await newConstruct();
    const answer = await upload(construct_id, "these", {}, { "content-digest": digestField("those") });
    expect(answer.status).toBe(422);
    expect((await problemIn(answer)).errors?.[0]?.pointer).toBe("Content-Digest");
    expect((await upload(construct_id, "x", {}, { "content-digest": "sha-256=:short:" })).status).toBe(422);
    const page = await open.json<{ items: Artifact[] }>(
      200,
      "GET",
      `/v1/artifacts?construct_id=${construct_id}`,
    );
    expect(page.items).toEqual([]);
  });

  test("needs a construct that lives, a session of it, and an entry that is there", async () => {
    const { construct, session } = await newSession(open);
    const other = await newConstruct();
    const refused: [Record<string, string>, string, number, string][] = [
      [{}, Bun.randomUUIDv7(), 422, "construct_id"],
      [{ session_id: session.id }, other, 422, "session_id"],
      [{ session_id: session.id, entry_seq: "1" }, construct.id, 422, "entry_seq"],
      [{ entry_seq: "1" }, construct.id, 422, "entry_seq"],
      [{ type: "../x" }, construct.id, 422, "type"],
      [{ name: "x".repeat(limit("artifact_name_characters") + 1) }, construct.id, 422, "name"],
      [{ media_type: `a/${"x".repeat(limit("media_type_characters"))}` }, construct.id, 422, "media_type"],
      [{ media_type: "text" }, construct.id, 422, "media_type"],
    ];
    for (const [query, construct_id, status, pointer] of refused) {
      const answer = await upload(construct_id, "x", query);
      expect([answer.status, (await problemIn(answer)).errors?.[0]?.pointer]).toEqual([status, pointer]);
    }
    await open.call("DELETE", `/v1/constructs/${construct.id}`, { headers: { "if-match": "*" } });
    expect((await upload(construct.id, "x")).status).toBe(410);
    const long = await stored(other, "x", { name: "x".repeat(limit("artifact_name_characters")) });
    expect(long.name).toHaveLength(limit("artifact_name_characters"));
  });

  test("may be kept in a trashed construct, from which it is not served until that is back", async () => {
    const construct_id = await newConstruct();
    const { id } = await stored(construct_id, "x");
    await open.call("DELETE", `/v1/constructs/${construct_id}`, { headers: { "if-match": "*" } });
    expect(await statusOf(content(id))).toBe(410);
    await open.call("POST", `/v1/constructs/${construct_id}/undelete`);
    expect(await (await content(id)).text()).toBe("x");
  });
});

describe("content", () => {
  const ranges: [string, string, string | null][] = [
    ["bytes=0-4", "line ", "bytes 0-4/"],
    ["bytes=100-100", LOG[100] ?? "", "bytes 100-100/"],
    ["bytes=-5", " log\n", `bytes ${LOG.length - 5}-${LOG.length - 1}/`],
    [`bytes=${LOG.length - 1}-`, "\n", `bytes ${LOG.length - 1}-${LOG.length - 1}/`],
    [`bytes=300000-999999999`, LOG.slice(300_000), `bytes 300000-${LOG.length - 1}/`],
    ["bytes=5-4", LOG, null],
    ["bytes=0-1,5-6", LOG, null],
    ["lines=0-1", LOG, null],
  ];

  for (const encoding of ["identity", "zstd"] as const) {
    test(`is given by range, stored as ${encoding}`, async () => {
      // What is no text stays as it is.
      const text = encoding === "zstd" ? LOG : `\0${LOG.slice(1)}`;
      const { id } = await stored(await newConstruct(), text);
      if (encoding === "zstd") await compressed(id);
      for (const [range, wanted, content_range] of ranges) {
        const answer = await content(id, { range });
        const body = await answer.text();
        expect(body === (content_range === null ? text : wanted) || body === `\0${wanted.slice(1)}`).toBe(
          true,
        );
        expect([answer.status, answer.headers.get("content-range")]).toEqual(
          content_range === null ? [200, null] : [206, `${content_range}${LOG.length}`],
        );
      }
      const beyond = await content(id, { range: `bytes=${LOG.length}-` });
      expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, `bytes */${LOG.length}`]);
    });
  }

  test("of no bytes has no range", async () => {
    const { id } = await stored(await newConstruct(), "");
    expect([(await content(id)).status, await (await content(id)).text()]).toEqual([200, ""]);
    expect(await statusOf(content(id, { range: "bytes=0-" }))).toBe(416);
    expect(await statusOf(content(id, { range: "bytes=-0" }))).toBe(416);
  });

  test("of more than inline_artifact_bytes comes from the file, of no more from memory, and both are the same", async () => {
    const construct_id = await newConstruct();
    for (const length of [limit("inline_artifact_bytes"), limit("inline_artifact_bytes") + 1]) {
      const bytes = crypto.getRandomValues(new Uint8Array(65_536 * 2)).subarray(0, length);
      const { id } = await stored(construct_id, bytes);
      expect(Buffer.from(await (await content(id)).bytes()).equals(bytes)).toBe(true);
    }
  });

  test("is named by its digest, with which it is not sent again", async () => {
    const { id, sha256 } = await stored(await newConstruct(), LOG);
    await compressed(id);
    const headers = await headersOf(content(id));
    expect(headers.get("etag")).toBe(`"${sha256}"`);
    expect(headers.get("repr-digest")).toBe(digestField(LOG));
    expect(headers.get("cache-control")).toContain("immutable");
    const packed = await content(id, { "accept-encoding": "zstd" });
    expect([packed.headers.get("etag"), packed.headers.get("content-encoding")]).toEqual([
      `"${sha256};zstd"`,
      "zstd",
    ]);
    expect(zstdDecompressSync(await packed.bytes()).toString()).toBe(LOG);
    for (const known of [`"${sha256}"`, `"${sha256};zstd"`, `"other", W/"${sha256}"`])
      expect(await statusOf(content(id, { "if-none-match": known }))).toBe(304);
    expect(await statusOf(content(id, { "if-none-match": '"other"' }))).toBe(200);
  });

  test("is given whole to who has a part of something else", async () => {
    const { id, sha256 } = await stored(await newConstruct(), LOG);
    const range = "bytes=0-3";
    expect(await statusOf(content(id, { range, "if-range": `"${sha256}"` }))).toBe(206);
    expect(await statusOf(content(id, { range, "if-range": '"other"' }))).toBe(200);
    expect(await statusOf(content(id, { range, "if-range": "Wed, 21 Oct 2015 07:28:00 GMT" }))).toBe(200);
  });
});

describe("whatever it is, it", () => {
  const hostile: [name: string, media_type: string, body: string][] = [
    ["x.svg", "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"],
    ["x.html", "text/html", "<script>alert(1)</script>"],
    [
      "x.xml",
      "application/xhtml+xml",
      "<html xmlns='http://www.w3.org/1999/xhtml'><script>alert(1)</script></html>",
    ],
    ["x.png", "text/html", "<script>alert(1)</script>"],
    ["x.js", "text/javascript", "alert(1)"],
    ["x.pdf", "application/pdf", "%PDF-1.4"],
    ["x.zst", "application/zstd", "\u0028\u00b5\u002f\u00fd cut"],
  ];
  for (const [name, media_type, body] of hostile) {
    test(`is saved and not run: ${name} as ${media_type}`, async () => {
      const { id } = await stored(await newConstruct(), body, { name, media_type });
      const headers = await headersOf(content(id));
      expect(headers.get("content-disposition")).toStartWith("attachment;");
      expect(headers.get("content-type")).not.toMatch(/html|xml|javascript/);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("content-security-policy")).toBe("default-src 'none'; sandbox");
      expect(headers.get("cross-origin-resource-policy")).toBe("same-origin");
      expect(await (await content(id)).text()).toBe(body);
    });
  }

  test("is shown in place only as plain text or one of four kinds of image", async () => {
    const construct_id = await newConstruct();
    const shown: [Record<string, string>, string][] = [
      [{ media_type: "image/png" }, "image/png"],
      [{ media_type: "text/markdown" }, "text/plain; charset=utf-8"],
      [{ name: "build.log" }, "text/plain; charset=utf-8"],
      [{ name: "photo.JPEG" }, "image/jpeg"],
    ];
    for (const [query, type] of shown) {
      const headers = await headersOf(content((await stored(construct_id, "x", query)).id));
      expect([headers.get("content-type"), headers.get("content-disposition")?.split(";")[0]]).toEqual([
        type,
        "inline",
      ]);
    }
  });

  const names: [given: string, ascii: string, utf8: string][] = [
    ["../../etc/passwd", "passwd", "passwd"],
    ["C:\\windows\\x.txt", "x.txt", "x.txt"],
    ["..", "artifact", "artifact"],
    ['a"b\\c;d.txt', "c;d.txt", "c%3Bd.txt"],
    ["naïve € .log", "na_ve _ .log", "na%C3%AFve%20%E2%82%AC%20.log"],
    ["\u202egnp.exe", "gnp.exe", "gnp.exe"],
    ["line\r\nSet-Cookie: a=b", "lineSet-Cookie: a=b", "lineSet-Cookie%3A%20a%3Db"],
    ["😀".repeat(250), "_".repeat(200), encodeURIComponent("😀".repeat(100))],
  ];
  for (const [given, ascii, utf8] of names) {
    test(`keeps its name as data and is saved under a harmless one: ${JSON.stringify(given).slice(0, 40)}`, async () => {
      const { id, name } = await stored(await newConstruct(), "x", { name: given });
      expect(name).toBe(given);
      const headers = await headersOf(content(id));
      expect(headers.get("content-disposition")).toEndWith(`filename="${ascii}"; filename*=UTF-8''${utf8}`);
    });
  }

  test("has no name with NUL in it, and none longer than the request may be", async () => {
    const construct_id = await newConstruct();
    expect((await upload(construct_id, "x", { name: "a\0b" })).status).toBe(422);
    expect((await upload(construct_id, "x", { name: "😀".repeat(1_024) })).status).toBe(413);
  });
});

describe("lines", () => {
  interface Page {
    items: { line: number; text: string; line_bytes?: number }[];
    total_lines_count: number;
    next_line: number | null;
  }
  const lines = (id: string, query: string): Promise<Page> =>
    open.json<Page>(200, "GET", `/v1/artifacts/${id}/lines?${query}`);

  for (const encoding of ["identity", "zstd"] as const) {
    test(`are read from anywhere and from the end, stored as ${encoding}`, async () => {
      const { id } = await stored(await newConstruct(), LOG);
      if (encoding === "zstd") await compressed(id);
      const middle = await lines(id, "from=10000&count=2");
      expect(middle).toEqual({
        items: [10_000, 10_001].map((line) => ({ line, text: `line ${line} of a log` })),
        total_lines_count: 20_000,
        next_line: 10_002,
      });
      expect((await lines(id, "tail=1")).items).toEqual([{ line: 20_000, text: "line 20000 of a log" }]);
      expect(await lines(id, "from=20001")).toMatchObject({ items: [], next_line: null });
      expect((await lines(id, "")).items).toHaveLength(limit("page_default_count"));
    });
  }

  test("that are long are cut, and what is not UTF-8 is replaced", async () => {
    const long = "y".repeat(limit("text_line_bytes") + 5);
    const { id } = await stored(
      await newConstruct(),
      Buffer.concat([Buffer.from(`${long}\n`), Buffer.from([0xff, 0x41])]),
    );
    const { items } = await lines(id, "");
    expect(items[0]).toEqual({ line: 1, text: long.slice(5), line_bytes: long.length });
    expect(items[1]?.text).toBe("\ufffdA");
  });

  test("refuse two places at once", async () => {
    const { id } = await stored(await newConstruct(), LOG);
    expect((await open.call("GET", `/v1/artifacts/${id}/lines?from=1&tail=1`)).status).toBe(422);
  });
});

describe("an open artifact", () => {
  async function grow(id: string, offset: number, body: string): Promise<Response> {
    return open.call("PATCH", `/v1/artifacts/${id}/content`, {
      body,
      headers: { "upload-offset": String(offset) },
    });
  }

  test("grows at its end, is read as it stands, and is sealed", async () => {
    const row = await stored(await newConstruct(), "first\n", { open: "true", type: "log" });
    expect(row).toMatchObject({ state: "open", sha256: null, size_bytes: 6, encoding: "identity" });
    const grown = await grow(row.id, 6, "second\n");
    expect([grown.status, grown.headers.get("upload-offset")]).toEqual([204, "13"]);
    const stale = await grow(row.id, 6, "again");
    expect([stale.status, (await problemIn(stale))["offset" as "code"] as unknown]).toEqual([409, 13]);
    expect((await grow(row.id, -1, "x")).status).toBe(422);
    const answer = await content(row.id);
    expect([await answer.text(), answer.headers.get("upload-offset"), answer.headers.get("etag")]).toEqual([
      "first\nsecond\n",
      "13",
      null,
    ]);
    expect((await open.call("HEAD", `/v1/artifacts/${row.id}/content`)).headers.get("upload-offset")).toBe(
      "13",
    );
    const sealed = await open.json<Artifact>(200, "POST", `/v1/artifacts/${row.id}/seal`);
    expect(sealed).toMatchObject({ state: "sealed", sha256: sha("first\nsecond\n"), size_bytes: 13 });
    expect(await open.json<Artifact>(200, "POST", `/v1/artifacts/${row.id}/seal`)).toMatchObject({
      state: "sealed",
    });
    expect((await grow(row.id, 13, "x")).status).toBe(409);
    expect(await (await content(row.id)).text()).toBe("first\nsecond\n");
  });

  test("can be made again with its id, and is not emptied by that", async () => {
    const construct_id = await newConstruct();
    const id = Bun.randomUUIDv7();
    await stored(construct_id, "abc", { id, open: "true" });
    expect((await upload(construct_id, "abc", { id, open: "true" })).status).toBe(200);
    expect((await upload(construct_id, "other", { id, open: "true" })).status).toBe(409);
    expect(await (await content(id)).text()).toBe("abc");
  });

  test("is followed line by line, each once and whole, to its end", async () => {
    const { id } = await stored(await newConstruct(), "one\ntw", { open: "true" });
    const answer = await open.call("GET", `/v1/artifacts/${id}/lines?follow=true`);
    const reader = answer.body?.getReader();
    let text = "";
    const until = async (part: string): Promise<void> => {
      while (!text.includes(part)) {
        const step = await reader?.read();
        if (step === undefined || step.done) throw new Error(`it ended: ${text}`);
        text += new TextDecoder().decode(step.value);
      }
    };
    await until('"one"');
    await grow(id, 6, "o\nthree\nfo");
    await until('"three"');
    expect(text).toContain('"two"');
    await open.json(200, "POST", `/v1/artifacts/${id}/seal`);
    await until("event: end");
    const seen = [...text.matchAll(/^id: (\d+)\nevent: line\ndata: (.*)$/gm)].map(([, line, data]) => [
      Number(line),
      (JSON.parse(data ?? "") as { text: string }).text,
    ]);
    expect(seen).toEqual([
      [1, "one"],
      [2, "two"],
      [3, "three"],
      [4, "fo"],
    ]);
    expect((await reader?.read())?.done).toBe(true);
    const resumed = await open.call("GET", `/v1/artifacts/${id}/lines?follow=true`, {
      headers: { "last-event-id": "3" },
    });
    const rest = await resumed.text();
    expect(rest).toContain('"fo"');
    expect(rest).not.toContain('"three"');
    expect(open.door.active_count).toBe(0);
  });
});

describe("a list", () => {
  test("is filtered, ordered and paged", async () => {
    const construct_id = await newConstruct();
    for (const [name, type, body] of [
      ["a.log", "log", "123"],
      ["b.log", "log", "1"],
      ["ab.diff", "diff", "12"],
    ] as const)
      await stored(construct_id, body, { name, type });
    const names = async (query: string): Promise<string[]> =>
      (
        await open.json<{ items: Artifact[] }>(
          200,
          "GET",
          `/v1/artifacts?construct_id=${construct_id}&${query}`,
        )
      ).items.map(({ name }) => name);
    expect(await names("sort=name&order=asc")).toEqual(["a.log", "ab.diff", "b.log"]);
    expect(await names("sort=size&order=desc")).toEqual(["a.log", "ab.diff", "b.log"]);
    expect(await names("type=log&sort=name&order=asc")).toEqual(["a.log", "b.log"]);
    expect(await names("name_prefix=a&sort=name&order=asc")).toEqual(["a.log", "ab.diff"]);
    expect(await names("size_at_least=2&size_at_most=2")).toEqual(["ab.diff"]);
    expect(await names(`sha256=${sha("1")}`)).toEqual(["b.log"]);
    const first = await open.json<{ items: Artifact[]; next_cursor: string; total_count: number }>(
      200,
      "GET",
      `/v1/artifacts?construct_id=${construct_id}&sort=name&order=asc&limit=2&count=true`,
    );
    expect([first.items.length, first.total_count]).toEqual([2, 3]);
    expect(
      await names(`sort=name&order=asc&limit=2&cursor=${encodeURIComponent(first.next_cursor)}`),
    ).toEqual(["b.log"]);
  });
});

describe("deleting", () => {
  test("needs the state that was read, hides at once, and gc takes the file after the grace, unless another has the bytes", async () => {
    const construct_id = await newConstruct();
    const one = await stored(construct_id, "shared", { name: "one" });
    const two = await stored(construct_id, "shared", { name: "two" });
    const path = `/v1/artifacts/${one.id}`;
    expect((await open.call("DELETE", path)).status).toBe(428);
    expect((await open.call("DELETE", path, { headers: { "if-match": '"r7"' } })).status).toBe(412);
    const tag = (await open.call("GET", path)).headers.get("etag") ?? "";
    expect((await open.call("DELETE", path, { headers: { "if-match": tag } })).status).toBe(204);
    expect((await open.call("GET", path)).status).toBe(410);
    expect(await statusOf(content(one.id))).toBe(410);
    open.clock.at_ms = Date.now() + 5_000;
    const report = await open.json<{
      purged_rows_count: number;
      unreferenced_files: string[];
      missing: unknown[];
    }>(200, "POST", "/v1/gc?grace_ms=0");
    expect(report.unreferenced_files.filter((name) => name.includes(construct_id))).toEqual([]);
    expect((await open.call("GET", path)).status).toBe(404);
    expect(await (await content(two.id)).text()).toBe("shared");
    await open.call("DELETE", `/v1/artifacts/${two.id}`, { headers: { "if-match": "*" } });
    open.clock.at_ms += 5_000;
    const last = await open.json<typeof report>(200, "POST", "/v1/gc?grace_ms=0");
    expect(last.unreferenced_files.filter((name) => name.includes(construct_id))).toHaveLength(1);
    expect(last.missing).toEqual([]);
  });

  test("an unknown one is not found, also by every other route", async () => {
    const id = Bun.randomUUIDv7();
    const calls: [string, string, Record<string, string>?][] = [
      ["GET", ""],
      ["GET", "/content"],
      ["GET", "/lines"],
      ["POST", "/seal"],
      ["PATCH", "/content", { "upload-offset": "0" }],
      ["DELETE", "", { "if-match": "*" }],
    ];
    for (const [method, path, headers = {}] of calls)
      expect((await open.call(method, `/v1/artifacts/${id}${path}`, { headers })).status).toBe(404);
  });
});
