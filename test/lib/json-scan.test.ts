/** Spans of values in JSON texts. */
import { describe, expect, test } from "bun:test";
import { elementSpans, memberSpans, withoutLineBreaks } from "../../src/lib/json-scan.ts";
import { run, type Scanner } from "../campaign/scanner.ts";
import { corpusTranscripts, has_corpus } from "../support/corpus.ts";

const texts = (text: string): Record<string, string> =>
  Object.fromEntries(memberSpans(text).map(({ name, start, end }) => [name, text.slice(start, end)]));
const elements = (text: string, from?: number): string[] =>
  elementSpans(text, from).map(({ start, end }) => text.slice(start, end));

describe("the scanner", () => {
  test("gives each value verbatim, without outer white space", () => {
    expect(texts(' { "a" : 1e3 , "b":[ 1, {"c":"]"} ] ,"d": "x\\"}" }')).toEqual({
      a: "1e3",
      b: '[ 1, {"c":"]"} ]',
      d: '"x\\"}"',
    });
    expect(texts('{"a":-0\t,"b":1E+5\r\n,"c":true ,"d":null}')).toEqual({
      a: "-0",
      b: "1E+5",
      c: "true",
      d: "null",
    });
  });

  test("ends a string at the quote that an even number of backslashes precedes", () => {
    for (let backslashes = 0; backslashes < 9; backslashes += 1) {
      const inner = `${"\\".repeat(backslashes)}${backslashes % 2 === 1 ? '"' : ""}`;
      expect(elements(`["${inner}","}"]`)).toEqual([`"${inner}"`, '"}"']);
      expect(texts(`{"a":{"b":"${inner}"},"c":1}`)).toEqual({ a: `{"b":"${inner}"}`, c: "1" });
    }
  });

  test("decodes names and shows those that are given twice", () => {
    expect(memberSpans('{"b\\u006fdy":1,"body":2}').map(({ name }) => name)).toEqual(["body", "body"]);
    expect(memberSpans('{"\\n\\"\\\\\\ud800":1,"":2,"__proto__":3}').map(({ name }) => name)).toEqual([
      '\n"\\\ud800',
      "",
      "__proto__",
    ]);
  });

  test("counts how deep a value is nested, and not what stands in strings or side by side", () => {
    expect(memberSpans('{"a":"[[[","b":[],"c":[[{}],1],"d":7}').map(({ depth }) => depth)).toEqual([
      0, 1, 3, 0,
    ]);
    expect(elementSpans('[[[],[],{"a":[]}],{"a":{},"b":{}},["]"]]').map(({ depth }) => depth)).toEqual([
      3, 2, 1,
    ]);
    const levels = 1_000_000;
    expect(elementSpans(`[${"[".repeat(levels)}${"]".repeat(levels)}]`)).toEqual([
      { start: 1, end: 1 + 2 * levels, depth: levels },
    ]);
  });

  test("finds the elements of a list, also of an empty one", () => {
    expect(elementSpans("[]")).toEqual([]);
    expect(elementSpans(" [\n] ")).toEqual([]);
    expect(memberSpans("{ }")).toEqual([]);
    expect(elements(' [ "\\\\" ,2, [3] ]')).toEqual(['"\\\\"', "2", "[3]"]);
  });

  test("begins where it is told to, with places in the whole text", () => {
    const text = '{"x":0,"entries": [ {"a":1} , {"b":[2]} ]}';
    const [first, second] = elementSpans(text, text.indexOf(":", 7) + 1);
    expect(text.slice(first!.start, first!.end)).toBe('{"a":1}');
    const [member] = memberSpans(text, second!.start);
    expect(member).toEqual({ name: "b", start: text.indexOf("[2]"), end: text.indexOf("[2]") + 3, depth: 1 });
  });

  test("puts JSON on one line without touching what is between the breaks", () => {
    expect(withoutLineBreaks('{\r\n  "a": "\\n",\n\t"b": 1\n}')).toBe('{  "a": "\\n",\t"b": 1}');
    expect(withoutLineBreaks('"a\u2028b\u0085c\u000b"')).toBe('"a\u2028b\u0085c\u000b"');
  });

  test("throws on what is not JSON rather than scan forever, when it gets that far", () => {
    for (const text of ["", "{", '{"a', '{"a"', '{"a":', '{"a":}', '{"a":1', '{"a":[', "{,}", "{a:1}"])
      expect(() => memberSpans(text)).toThrow("assertion failed");
    for (const text of ["", "[", "[1", '["', "[,]", "[}", "[[", '[["]'])
      expect(() => elementSpans(text)).toThrow("assertion failed");
  });

  test.skipIf(!has_corpus)(
    "gives the lines of real transcripts verbatim out of what they are wrapped in",
    () => {
      let count = 0;
      for (const { bodies } of corpusTranscripts()) {
        for (const body of bodies) {
          const wrapped = `{"kind":"note" , "body": ${body} }`;
          if (texts(wrapped)["body"] !== body) throw new Error(`not verbatim: ${body.slice(0, 200)}`);
          count += 1;
        }
        const list = `[ ${bodies.join(" ,\n")} ]`;
        expect(elements(list)).toEqual(bodies);
      }
      expect(count).toBeGreaterThan(1_000);
    },
  );
});

describe("the campaign notices a scanner that", () => {
  const broken: [string, Partial<Scanner>][] = [
    ["leaves a member out", { memberSpans: (text, from) => memberSpans(text, from).slice(0, 2) }],
    [
      "shows only the last of two members",
      {
        memberSpans: (text, from) => [
          ...new Map(memberSpans(text, from).map((span) => [span.name, span])).values(),
        ],
      },
    ],
    [
      "does not decode names",
      { memberSpans: (text, from) => memberSpans(text.replaceAll("\\u", "\\\\u"), from) },
    ],
    [
      "keeps the space behind a value",
      {
        elementSpans: (text, from) =>
          elementSpans(text, from).map((span) => ({
            ...span,
            end: text[span.end] === " " ? span.end + 1 : span.end,
          })),
      },
    ],
    [
      "cuts a value short",
      {
        elementSpans: (text, from) =>
          elementSpans(text, from).map((span) => ({ ...span, end: Math.max(span.start + 1, span.end - 1) })),
      },
    ],
    [
      "miscounts the depth",
      {
        elementSpans: (text, from) =>
          elementSpans(text, from).map((span) => ({ ...span, depth: Math.min(span.depth, 5) })),
      },
    ],
    [
      "takes a bracket in a string for one",
      { elementSpans: (text, from) => elementSpans(text.replaceAll('"]', '" '), from) },
    ],
    ["throws", { elementSpans: () => [].at(0)! }],
  ];
  test.each(broken)("%s", async (_title, functions) => {
    const { failures } = await run(
      { seed: 1, size: "short", log: () => undefined },
      { memberSpans, elementSpans, ...functions },
    );
    expect(failures.length).toBeGreaterThan(0);
  });
});
