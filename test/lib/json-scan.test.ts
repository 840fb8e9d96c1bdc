/** Spans of values in JSON texts. */
import { describe, expect, test } from "bun:test";
import { elementSpans, memberSpans, withoutLineBreaks } from "../../src/lib/json-scan.ts";

const texts = (text: string): Record<string, string> =>
  Object.fromEntries(memberSpans(text).map(({ name, start, end }) => [name, text.slice(start, end)]));

describe("the scanner", () => {
  test("gives each value verbatim, without outer white space", () => {
    expect(texts(' { "a" : 1e3 , "b":[ 1, {"c":"]"} ] ,"d": "x\\"}" }')).toEqual({
      a: "1e3",
      b: '[ 1, {"c":"]"} ]',
      d: '"x\\"}"',
    });
  });

  test("decodes names and shows those that are given twice", () => {
    expect(memberSpans('{"b\\u006fdy":1,"body":2}').map(({ name }) => name)).toEqual(["body", "body"]);
  });

  test("counts how deep a value is nested, and not what stands in strings", () => {
    expect(memberSpans('{"a":"[[[","b":[],"c":[[{}],1],"d":7}').map(({ depth }) => depth)).toEqual([
      0, 1, 3, 0,
    ]);
  });

  test("finds the elements of a list, also of an empty one", () => {
    expect(elementSpans("[]")).toEqual([]);
    expect(
      elementSpans(' [ "\\\\" ,2, [3] ]').map(({ start, end }) => ' [ "\\\\" ,2, [3] ]'.slice(start, end)),
    ).toEqual(['"\\\\"', "2", "[3]"]);
  });

  test("puts JSON on one line without touching what is between the breaks", () => {
    expect(withoutLineBreaks('{\r\n  "a": "\\n",\n\t"b": 1\n}')).toBe('{  "a": "\\n",\t"b": 1}');
  });
});
