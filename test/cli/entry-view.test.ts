import { expect, test } from "bun:test";
import { createStyle } from "../../src/cli/colour.ts";
import { bodyText, renderEntry } from "../../src/cli/entry-view.ts";

const view = { style: createStyle(false), columns: 40, most_lines: 3 };
const entry = { seq: 7, kind: "message", actor: "agent", at_ms: 0 };

test.each([
  ["plain", "plain"],
  [{ text: "a" }, "a"],
  [
    {
      role: "assistant",
      content: [
        { type: "text", text: "a" },
        { type: "text", text: "b" },
      ],
    },
    "a\nb",
  ],
  [{ type: "user", message: { role: "user", content: "deep" } }, "deep"],
  [{ x: 1 }, '{"x":1}'],
  [[], "[]"],
  [null, "null"],
  [12.5, "12.5"],
])("the words of %j are %p", (body, text) => expect(bodyText(body)).toBe(text));

test("an entry is a line and the text below it, wrapped to the width", () => {
  expect(renderEntry({ ...entry, body: "one two three four five six seven eight nine" }, view)).toBe(
    "#7 message agent 1970-01-01T00:00:00Z\n  one two three four five six seven\n  eight nine\n",
  );
});

test("a long body is cut and says so", () => {
  const lines = renderEntry({ ...entry, body: "1\n2\n3\n4\n5" }, view).split("\n");
  expect(lines.slice(1)).toEqual(["  1", "  2", "  3", "  … 2 more lines; --full shows them", ""]);
});

test("a body that was left out shows its beginning and size", () => {
  expect(renderEntry({ ...entry, body: null, body_bytes: 300_000, preview: '"abc' }, view)).toContain(
    "293 KiB",
  );
});

test("nothing in a body acts on the terminal", () => {
  expect(renderEntry({ ...entry, key: "\u001b[0m", body: "\u001b]52;c;x\u0007\u202e" }, view)).not.toMatch(
    /(?!\n)\p{Cc}|\u202e/u,
  );
});

test("deep nesting is shown and not followed", () => {
  let body: unknown = "x";
  for (let level = 0; level < 2_000; level += 1) body = { content: body };
  expect(bodyText(body)).toStartWith('{"content":');
});
