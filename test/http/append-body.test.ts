/** Bodies of appends: what is kept, and what is refused where. */
import { describe, expect, test } from "bun:test";
import { Problem } from "../../src/errors.ts";
import { parseAppendJson, parseAppendNdjson } from "../../src/http/append-body.ts";

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

describe("an NDJSON append", () => {
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
