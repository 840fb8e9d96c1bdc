import { describe, expect, test } from "bun:test";
import { createStyle, statusText } from "../../src/cli/colour.ts";
import { safeLine, safeText } from "../../src/cli/safe-text.ts";
import { type Column, fitWidths, renderFacts, renderTable } from "../../src/cli/table.ts";

const plain = createStyle(false);
const coloured = createStyle(true);

interface Row {
  id: string;
  title: string;
  size: number;
}

const COLUMNS: Column<Row>[] = [
  { title: "id", text: ({ id }) => id },
  { title: "title", text: ({ title }) => title, min_columns: 6 },
  { title: "size", text: ({ size }) => String(size), align: "right" },
];

const ROWS: Row[] = [
  { id: "a", title: "short", size: 1 },
  { id: "bb", title: "a title that is rather long", size: 12_345 },
];

describe("a table", () => {
  test("has its columns under each other", () => {
    expect(renderTable(ROWS, COLUMNS, 200, plain)).toBe(
      [
        "id  title                         size",
        "a   short                            1",
        "bb  a title that is rather long  12345",
        "",
      ].join("\n"),
    );
  });

  test.each([80, 38, 30, 20, 17])("fits %d columns", (width) => {
    for (const line of renderTable(ROWS, COLUMNS, width, coloured).split("\n"))
      expect(Bun.stringWidth(line)).toBeLessThanOrEqual(width);
  });

  test("cuts with an ellipsis and never below the minimum", () => {
    expect(renderTable(ROWS, COLUMNS, 1, plain).split("\n")[2]).toBe("bb  a tit…  12345");
  });

  test("leaves out what may go, the last first, before it is too wide", () => {
    const columns: Column<Row>[] = [
      { title: "id", text: ({ id }) => id },
      { title: "one", text: () => "111", may_go: true },
      { title: "two", text: () => "222", may_go: true },
      { title: "size", text: ({ size }) => String(size) },
    ];
    const heads = (width: number): string =>
      renderTable(ROWS.slice(0, 1), columns, width, plain).split("\n")[0]!;
    expect([18, 17, 13, 12, 1].map(heads)).toEqual([
      "id  one  two  size",
      "id  one  size",
      "id  one  size",
      "id  size",
      "id  size",
    ]);
  });

  test("counts wide characters as two", () => {
    const lines = renderTable(
      [
        { id: "漢字", title: "x", size: 1 },
        { id: "abcd", title: "x", size: 1 },
      ],
      COLUMNS,
      80,
      plain,
    ).split("\n");
    expect(lines[1]?.indexOf("x")).toBe(lines[2]!.indexOf("x") - 2);
  });

  test("is nothing without rows", () => {
    expect(renderTable([], COLUMNS, 80, plain)).toBe("");
  });

  test("keeps a title with escape sequences from acting", () => {
    const text = renderTable(
      [{ id: "a", title: "\u001b[2J\u001b]0;x\u0007evil\nline", size: 1 }],
      COLUMNS,
      80,
      plain,
    );
    expect(text).not.toContain("\u001b");
    expect(text.split("\n")).toHaveLength(3);
  });
});

test("widths are taken from the widest first", () => {
  expect(fitWidths([4, 20, 10], [undefined, 5, 5], 30)).toEqual([4, 12, 10]);
  expect(fitWidths([4, 20, 10], [undefined, 5, 5], 22)).toEqual([4, 7, 7]);
  expect(fitWidths([4, 20, 10], [undefined, 5, 5], 1)).toEqual([4, 5, 5]);
});

test("facts of several lines are indented below their name", () => {
  expect(
    renderFacts(
      [
        { name: "a", value: "1" },
        { name: "brief", value: "x\ny" },
      ],
      plain,
    ),
  ).toBe("a      1\nbrief  \n  x\n  y\n");
});

describe("foreign text", () => {
  test("shows controls instead of obeying them", () => {
    expect(safeText("a\u001b[31mb\u0000\u007f\u009b")).toBe("a␛[31mb␀␡\ufffd");
  });

  test("cannot reorder a line", () => {
    expect(safeText("a\u202eb\u2066c")).toBe("a\ufffdb\ufffdc");
  });

  test("keeps its own lines and tabs, or becomes one line", () => {
    expect(safeText("a\r\n\tb\rc")).toBe("a\n\tb␍c");
    expect(safeLine("a\r\n\tb")).toBe("a b");
  });

  test("keeps what languages need", () => {
    expect(safeText("עברית 漢字 👩‍👩‍👧 é")).toBe("עברית 漢字 👩‍👩‍👧 é");
  });
});

test("colours are only there when they are wanted", () => {
  expect(plain.red("x")).toBe("x");
  expect(coloured.red("x")).toBe("\u001b[31mx\u001b[39m");
  expect(coloured.red("")).toBe("");
  expect(statusText("strange", coloured)).toBe("strange");
  expect(statusText("error", coloured)).toBe(coloured.red("error"));
});
