/** Bodies of appends: what is kept, what is refused where, and how they are read from a connection. */
import { afterAll, describe, expect, test } from "bun:test";
import { Problem } from "../../src/errors.ts";
import { parseAppendJson, parseAppendNdjson } from "../../src/http/append-body.ts";
import { limitedChunks, readBody } from "../../src/http/request-body.ts";
import { limit } from "../../src/limits.ts";
import { AnswerReader, connect } from "../support/wire.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

async function* chunks(text: string | Uint8Array): AsyncGenerator<Uint8Array> {
  const all = typeof text === "string" ? bytes(text) : text;
  for (let from = 0; from < all.length; from += 7) yield all.subarray(from, from + 7);
}

async function refusal(
  parse: () => unknown,
): Promise<{ code: string; pointer: string | undefined; detail: string }> {
  try {
    await parse();
  } catch (error) {
    if (error instanceof Problem)
      return { code: error.code, pointer: error.extra.errors?.[0]?.pointer, detail: error.message };
    throw error;
  }
  throw new Error("it was accepted");
}

const nested = (levels: number): string => "[".repeat(levels) + "]".repeat(levels);

async function problemOf(parse: () => unknown): Promise<Problem> {
  try {
    await parse();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

/** All of it as one chunk. */
async function* whole(text: string | Uint8Array): AsyncGenerator<Uint8Array> {
  yield typeof text === "string" ? bytes(text) : text;
}

/** Bytes of a JSON request whose only body is this. */
const withBody = (body: string): Uint8Array => bytes(`{"entries":[{"kind":"note","body":${body}}]}`);

const NOTE = '{"kind":"note","body":1}';

/** How often other work had its turn while this ran. */
async function turnsDuring(parse: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let running = true;
  const turn = (): void => {
    turns += 1;
    if (running) setImmediate(turn);
  };
  setImmediate(turn);
  await parse().catch(() => undefined);
  running = false;
  return turns;
}

describe("a JSON append", () => {
  test("keeps every body as it was sent", () => {
    const bodies = [
      '{ "b" : 1e3,  "a":-0 }',
      '"\\u0000\\ud800"',
      "1.10",
      "null",
      '{"a":1,"a":2}',
      nested(10_000),
    ];
    const sent = parseAppendJson(
      bytes(`{"entries":[${bodies.map((body) => `{"kind":"note", "body": ${body} }`).join(" , ")}]}`),
    );
    expect(sent.map(({ body }) => body)).toEqual(bodies);
  });

  test("drops only line breaks between tokens", () => {
    const [entry] = parseAppendJson(
      bytes('{"entries":[{"kind":"note","body":{\r\n  "a": "x\\ny",\n  "b": [1,\n2]\n}}]}'),
    );
    expect(entry?.body).toBe('{  "a": "x\\ny",  "b": [1,2]}');
  });

  const refusals: [string, string, string, string | undefined][] = [
    ["text that is not JSON", '{"entries":[{]}', "malformed_body", "the body"],
    ["another shape", "[]", "invalid_request", ""],
    [
      "an unknown member beside entries",
      '{"entries":[{"kind":"note","body":1}],"x":1}',
      "invalid_request",
      "/x",
    ],
    [
      "entries given twice",
      '{"entries":[{"kind":"note","body":1}],"entries":[]}',
      "invalid_request",
      "/entries",
    ],
    ["no entries", '{"entries":[]}', "invalid_request", "/entries"],
    [
      "an unknown field",
      '{"entries":[{"kind":"note","body":1,"a/b":1}]}',
      "invalid_request",
      "/entries/0/a~1b",
    ],
    [
      "a member given twice, once in escapes",
      '{"entries":[{"kind":"note","body":1,"b\\u006fdy":2}]}',
      "invalid_request",
      "/entries/0/body",
    ],
    ["a missing body", '{"entries":[{"kind":"note"}]}', "invalid_request", "/entries/0/body"],
    ["an unknown kind", '{"entries":[{"kind":"nonsense","body":1}]}', "invalid_request", "/entries/0/kind"],
    [
      "a prototype as a field",
      '{"entries":[{"__proto__":{"kind":"note"},"kind":"note","body":1}]}',
      "invalid_request",
      "/entries/0/__proto__",
    ],
    [
      "a control character in a key",
      '{"entries":[{"kind":"note","key":"a\\nb","body":1}]}',
      "invalid_request",
      "/entries/0/key",
    ],
    [
      "nesting one level too deep",
      `{"entries":[{"kind":"note","body":${nested(10_001)}}]}`,
      "too_large",
      "/entries/0/body",
    ],
    [
      "nesting without end",
      `{"entries":[{"kind":"note","body":${nested(1_000_000)}}]}`,
      "too_large",
      "/entries/0/body",
    ],
  ];
  for (const [name, text, code, pointer] of refusals) {
    test(`refuses ${name}`, async () => {
      expect(await refusal(() => parseAppendJson(bytes(text)))).toMatchObject({ code, pointer });
    });
  }

  test("refuses bytes that are not UTF-8, and a byte order mark", async () => {
    expect((await refusal(() => parseAppendJson(Uint8Array.of(0x7b, 0xff, 0x7d)))).code).toBe(
      "malformed_body",
    );
    expect((await refusal(() => parseAppendJson(bytes('\ufeff{"entries":[]}')))).code).toBe("malformed_body");
  });

  test("takes a body of 16 MiB and refuses one byte more", async () => {
    const request = (length: number): Uint8Array =>
      bytes(`{"entries":[{"kind":"note","body":"${"x".repeat(length)}"}]}`);
    expect(parseAppendJson(request(16 << 20))[0]?.body.length).toBe((16 << 20) + 2);
    expect(await refusal(() => parseAppendJson(request((16 << 20) + 1)))).toMatchObject({
      code: "too_large",
    });
  });
});

describe("a JSON append is as strict", () => {
  test("about the member that is the body, wherever it stands", () => {
    const sent = parseAppendJson(
      bytes(
        '{"entries":[{"body":{"body":0,"kind":"x"},"key":"k","kind":"note"},{"b\\u006fdy":[ 2 ],"kind":"note"}]}',
      ),
    );
    expect(sent).toEqual([
      { kind: "note", key: "k", body: '{"body":0,"kind":"x"}' },
      { kind: "note", body: "[ 2 ]" },
    ]);
  });

  test("about entries given twice, though each list is good", async () => {
    const twice = `{"entries":[${NOTE}],"\\u0065ntries":[${NOTE}]}`;
    expect((await problemOf(() => parseAppendJson(bytes(twice)))).extra.errors).toEqual([
      { pointer: "/entries", detail: "This member is given twice." },
    ]);
  });

  test.each([
    ["constructor", "/entries/0/constructor"],
    ["toString", "/entries/0/toString"],
    ["a~b/c", "/entries/0/a~0b~1c"],
    ["", "/entries/0/"],
  ])("about the unknown name %p", async (name, pointer) => {
    const text = `{"entries":[{"kind":"note","body":1,${JSON.stringify(name)}:1}]}`;
    expect(await problemOf(() => parseAppendJson(bytes(text)))).toMatchObject({
      code: "invalid_request",
      extra: { errors: [{ pointer }] },
    });
  });

  test("about what would make it a prototype, outside and inside", async () => {
    for (const text of [
      `{"__proto__":{"entries":[${NOTE}]}}`,
      `{"entries":[${NOTE}],"__proto__":null}`,
      '{"entries":[{"__proto__":{"kind":"note","body":1}}]}',
      '{"entries":[{"kind":"note","body":1,"\\u005f_proto__":1}]}',
    ]) {
      const { code, extra } = await problemOf(() => parseAppendJson(bytes(text)));
      expect({ text, code, pointer: extra.errors?.[0]?.pointer }).toMatchObject({
        code: "invalid_request",
        pointer: expect.stringContaining("/__proto__"),
      });
    }
    expect(parseAppendJson(withBody('{"__proto__":{"a":1}}'))[0]?.body).toBe('{"__proto__":{"a":1}}');
  });

  test.each(["\\xff", "\\xc0\\xaf", "\\xed\\xa0\\x80", "\\xf4\\x90\\x80\\x80", "\\xe2\\x82"])(
    "about UTF-8 in a string: %p",
    async (escaped) => {
      const raw = escaped.replaceAll(/\\x(..)/g, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      );
      const line = Buffer.from(`{"kind":"note","body":"${raw}"}`, "latin1");
      const json = Buffer.concat([bytes('{"entries":['), line, bytes("]}")]);
      expect((await problemOf(() => parseAppendJson(json))).code).toBe("malformed_body");
      expect(
        await problemOf(() => parseAppendNdjson(whole(Buffer.concat([bytes(`${NOTE}\n`), line])))),
      ).toMatchObject({
        code: "malformed_body",
        message: "line 2 is not valid UTF-8.",
      });
      expect(parseAppendJson(withBody("1"))).toHaveLength(1);
    },
  );

  test("about the bytes of a body, not its characters", async () => {
    const at_limit = `"${"é".repeat((limit("entry_body_bytes") - 2) / 2)}"`;
    expect(parseAppendJson(withBody(at_limit))).toHaveLength(1);
    const over = `${at_limit.slice(0, -1)}x"`;
    expect(await problemOf(() => parseAppendJson(withBody(over)))).toMatchObject({
      code: "too_large",
      message: expect.stringContaining("entry_body_bytes"),
    });
  });

  test("about the number of entries", async () => {
    const count = limit("entries_per_append_count");
    const json = (entries: number): Uint8Array =>
      bytes(`{"entries":[${Array(entries).fill(NOTE).join(",")}]}`);
    const ndjson = (entries: number): AsyncIterable<Uint8Array> => whole(`${NOTE}\n`.repeat(entries));
    expect(parseAppendJson(json(count))).toHaveLength(count);
    expect(await parseAppendNdjson(ndjson(count))).toHaveLength(count);
    const too_many = { code: "too_large", message: expect.stringContaining("entries_per_append_count") };
    expect(await problemOf(() => parseAppendJson(json(count + 1)))).toMatchObject(too_many);
    expect(await problemOf(() => parseAppendNdjson(ndjson(count + 1)))).toMatchObject(too_many);
    // Refused at the line that is one too many: what follows is not even looked at.
    const broken_later = whole(`${NOTE}\n`.repeat(count + 1) + "{");
    expect(await problemOf(() => parseAppendNdjson(broken_later))).toMatchObject(too_many);
  });

  test("and answers with few places and short names, whatever it was sent", async () => {
    const unknown = Array.from({ length: 500 }, (_, index) => `"u${index}":0`).join(",");
    const long = `"x${"\u{1f600}".repeat(100_000)}"`;
    for (const text of [
      `{"entries":[{"kind":"note","body":1,${unknown}}]}`,
      `{"entries":[{"kind":"nonsense","body":1,${unknown}}]}`,
      `{"entries":[${NOTE}],${unknown}}`,
      `{"entries":[{"kind":"note","body":1,${long}:0}]}`,
      `{"entries":[{"kind":"note","body":1,${long}:0,${long}:0}]}`,
      `{"entries":[${NOTE}],${long}:0}`,
    ]) {
      const { extra, message } = await problemOf(() => parseAppendJson(bytes(text)));
      expect(extra.errors?.length).toBeWithin(1, 21);
      const answer = JSON.stringify([message, extra.errors]);
      expect(answer.length).toBeLessThan(10_000);
      expect(answer.isWellFormed() && !answer.includes("\\ud8")).toBe(true);
    }
  });
});

describe("an NDJSON append", () => {
  test("lets other work have its turn, whatever its lines are", async () => {
    const mebibyte = 1 << 20;
    for (const line of [`{"kind":"note","body":"${"x".repeat(3_000)}"}\n`, "\n", "\r\n", " \t\n"]) {
      const text = line.repeat(Math.ceil(mebibyte / line.length));
      expect(await turnsDuring(() => parseAppendNdjson(whole(text)))).toBeGreaterThanOrEqual(3);
    }
    // A tiny entry costs more than its bytes: 10,000 of them are 240 KB and would be one long turn.
    expect(
      await turnsDuring(() => parseAppendNdjson(whole(`${NOTE}\n`.repeat(10_000)))),
    ).toBeGreaterThanOrEqual(8);
  });

  test("takes no turn when nothing is left to be parsed", async () => {
    const long = `{"kind":"note","body":"${"x".repeat(limit("parse_turn_bytes"))}"}\n`;
    const without = await turnsDuring(() => parseAppendNdjson(whole(long)));
    expect(await turnsDuring(() => parseAppendNdjson(whole(long + NOTE + "\n")))).toBeGreaterThan(without);
    expect(without).toBe(await turnsDuring(() => parseAppendNdjson(whole(NOTE))));
  });

  test("takes blank only for JSON's white space, and counts blank lines", async () => {
    for (const line of ["\u00a0", "\v", "\f", "\0"]) {
      expect(await problemOf(() => parseAppendNdjson(whole(`${NOTE}\n${line}\n`)))).toMatchObject({
        code: "malformed_body",
        message: "line 2 is not valid JSON.",
      });
    }
    expect(await problemOf(() => parseAppendNdjson(whole(`\n\r\n \t\n${NOTE}\n\nx`)))).toMatchObject({
      message: "line 6 is not valid JSON.",
    });
    expect(await problemOf(() => parseAppendNdjson(whole("")))).toMatchObject({
      code: "invalid_request",
      extra: { errors: [{ pointer: "" }] },
    });
  });

  test("refuses a byte order mark, and what is not an object", async () => {
    expect(await problemOf(() => parseAppendNdjson(whole(`\ufeff${NOTE}`)))).toMatchObject({
      code: "malformed_body",
    });
    for (const line of ["1", "null", "[]", `[${NOTE}]`, `"${"a".repeat(9)}"`]) {
      expect(await problemOf(() => parseAppendNdjson(whole(line)))).toMatchObject({
        code: "invalid_request",
      });
    }
  });

  test("has its lines whole, wherever the pieces are cut", async () => {
    const text = Buffer.from(
      '\n{"kind":"note","body":"é\u{1f642}\\r\u2028"}\r\n{"kind":"note",\r"body":[1,\r2]}\n',
    );
    const expected = [
      { kind: "note", body: '"é\u{1f642}\\r\u2028"' },
      { kind: "note", body: "[1,2]" },
    ];
    for (let cut = 0; cut <= text.length; cut += 1) {
      const pieces = async function* (): AsyncGenerator<Uint8Array> {
        yield text.subarray(0, cut);
        yield text.subarray(cut);
      };
      expect(await parseAppendNdjson(pieces())).toEqual(expected as never);
    }
  });

  test("never shows the engine's words or the text", async () => {
    for (const text of ['{"secret', '{"kind":"note","body":secret}', "\u0000secret"]) {
      for (const problem of [
        await problemOf(() => parseAppendNdjson(whole(text))),
        await problemOf(() => parseAppendJson(bytes(text))),
      ]) {
        expect(JSON.stringify([problem.message, problem.extra])).not.toMatch(
          /secret|SyntaxError|JSON Parse|token/i,
        );
      }
    }
  });
  test("takes one entry a line, with CRLF, blank lines and without a last newline", async () => {
    const sent = await parseAppendNdjson(
      chunks(
        '{"kind":"note","body":"é"}\r\n\n{"kind":"error","actor":"tool","at_ms":5,"key":"k","body":[ 1 ]}',
      ),
    );
    expect(sent).toEqual([
      { kind: "note", body: '"é"' },
      { kind: "error", actor: "tool", at_ms: 5, key: "k", body: "[ 1 ]" },
    ]);
  });

  test("names the line that is wrong, and keeps nothing of the request", async () => {
    const lines = ['{"kind":"note","body":1}', "", '{"kind":"note","body":}'].join("\n");
    expect(await refusal(() => parseAppendNdjson(chunks(lines)))).toMatchObject({
      code: "malformed_body",
      pointer: "line 3",
      detail: "line 3 is not valid JSON.",
    });
    expect(
      await refusal(() =>
        parseAppendNdjson(chunks('{"kind":"note","body":1}\n{"kind":"note","body":1,"boddy":1}')),
      ),
    ).toMatchObject({ pointer: "line 2: /boddy" });
    expect(await refusal(() => parseAppendNdjson(chunks("\n \n")))).toMatchObject({
      code: "invalid_request",
    });
  });
});

describe("the body of a request", () => {
  const LIMIT = 1_000;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    fetch: (request) => answer(request),
  });
  afterAll(() => server.stop(true));

  let ended: PromiseWithResolvers<string>;
  let began: PromiseWithResolvers<void>;

  async function lengthOf(request: Request): Promise<number> {
    if (request.url.endsWith("/whole")) return (await readBody(request, LIMIT)).byteLength;
    let sum = 0;
    for await (const chunk of limitedChunks(request, LIMIT)) sum += chunk.byteLength;
    return sum;
  }

  async function answer(request: Request): Promise<Response> {
    began.resolve();
    const outcome = await lengthOf(request).then(String, (error: unknown) =>
      error instanceof Problem ? error.code : `not a problem: ${String(error)}`,
    );
    ended.resolve(outcome);
    return new Response(outcome);
  }

  /** What came of these bytes behind the request line; `cut` ends the connection when the request has begun. */
  async function sent(path: string, rest: string, cut = false): Promise<string> {
    ended = Promise.withResolvers();
    began = Promise.withResolvers();
    const reader = new AnswerReader();
    const refused = Promise.withResolvers<string>();
    const wire = await connect(Number(server.port), {
      data(data) {
        reader.push(data.slice());
        if (reader.head !== null && reader.head.status !== 200)
          refused.resolve(`status ${reader.head.status}`);
      },
    });
    wire.send(`POST ${path} HTTP/1.1\r\nHost: localhost\r\n${rest}`);
    if (cut) {
      await began.promise;
      wire.cut();
    }
    const outcome = await Promise.race([ended.promise, refused.promise]);
    wire.cut();
    return outcome;
  }

  const chunked = (size: number): string =>
    `Transfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${"x".repeat(size)}\r\n0\r\n\r\n`;

  for (const path of ["/whole", "/chunks"]) {
    test(`is read up to its limit, announced or not (${path})`, async () => {
      expect(await sent(path, `Content-Length: ${LIMIT}\r\n\r\n${"x".repeat(LIMIT)}`)).toBe(String(LIMIT));
      expect(await sent(path, chunked(LIMIT))).toBe(String(LIMIT));
      expect(await sent(path, "Content-Length: 0\r\n\r\n")).toBe("0");
      expect(await sent(path, "\r\n")).toBe("0");
    });

    test(`is too large one byte later; an announced one before any byte of it came (${path})`, async () => {
      expect(await sent(path, `Content-Length: ${LIMIT + 1}\r\n\r\n`)).toBe("too_large");
      expect(await sent(path, chunked(LIMIT + 1))).toBe("too_large");
    });

    test(`is malformed when the connection is cut (${path})`, async () => {
      expect(await sent(path, "Content-Length: 500\r\n\r\nhalf", true)).toBe("malformed_body");
      expect(await sent(path, "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", true)).toBe(
        "malformed_body",
      );
    });

    test(`is not smuggled past the limit by two lengths (${path})`, async () => {
      for (const lengths of ["Content-Length: 5\r\n", "Content-Length: 5\r\nContent-Length: 5000\r\n"]) {
        const outcome = await sent(path, lengths + chunked(5_000));
        expect(["malformed_body", "too_large", "status 400"]).toContain(outcome);
      }
    });
  }

  test("is held to its limit, too, when a caller in the same process announces less than it sends", async () => {
    const request = (): Request =>
      new Request("http://localhost/", {
        method: "POST",
        body: "x".repeat(LIMIT + 1),
        headers: { "content-length": "5" },
      });
    expect((await problemOf(() => readBody(request(), LIMIT))).code).toBe("too_large");
    expect((await problemOf(() => limitedChunks(request(), LIMIT).next())).code).toBe("too_large");
  });

  test("is given up when its reader stops early", async () => {
    let given_up = false;
    const body = new ReadableStream({
      pull: (controller) => controller.enqueue(bytes(`${NOTE}\n{\n`)),
      cancel: () => void (given_up = true),
    });
    const request = new Request("http://localhost/", { method: "POST", body });
    expect((await problemOf(() => parseAppendNdjson(limitedChunks(request, LIMIT)))).code).toBe(
      "malformed_body",
    );
    expect(given_up).toBe(true);
  });
});
