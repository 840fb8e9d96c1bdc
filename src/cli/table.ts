/** Tables and lists of facts that fit the width they are given. Pure: values in, text out. */
import type { Style } from "./colour.ts";
import { safeLine, safeText } from "./safe-text.ts";

export interface Column<Row> {
  title: string;
  /** The plain text of a cell. */
  text(row: Row): string;
  /** Its colours, put on after it was cut. */
  paint?: (text: string, row: Row) => string;
  align?: "right";
  /** Columns may be cut down to this when the table is too wide; the others never are. */
  min_columns?: number;
}

const GAP = "  ";

/** Widths that add up to `columns` if the flexible ones can give enough: the widest gives first. */
export function fitWidths(
  natural: readonly number[],
  minimum: readonly (number | undefined)[],
  columns: number,
): number[] {
  const widths = [...natural];
  let excess = widths.reduce((sum, width) => sum + width, 0) + GAP.length * (widths.length - 1) - columns;
  while (excess > 0) {
    const widest = widths.reduce(
      (best, width, index) =>
        width > (minimum[index] ?? Infinity) && (best === -1 || width > (widths[best] ?? 0)) ? index : best,
      -1,
    );
    if (widest === -1) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess -= 1;
  }
  return widths;
}

/** Rows under their titles, each a line with a newline; nothing for no rows. */
export function renderTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  width: number,
  style: Style,
): string {
  if (rows.length === 0) return "";
  const cells = rows.map((row) => columns.map((column) => safeLine(column.text(row))));
  const natural = columns.map((column, index) =>
    cells.reduce((most, line) => Math.max(most, Bun.stringWidth(line[index] ?? "")), column.title.length),
  );
  const widths = fitWidths(
    natural,
    columns.map((column) => column.min_columns),
    width,
  );
  const line = (texts: readonly string[], paint: (text: string, index: number) => string): string =>
    texts
      .map((text, index) => {
        const cut = Bun.sliceAnsi(text, 0, widths[index] ?? 0, "…");
        const space = " ".repeat(Math.max(0, (widths[index] ?? 0) - Bun.stringWidth(cut)));
        return columns[index]?.align === "right" ? space + paint(cut, index) : paint(cut, index) + space;
      })
      .join(GAP)
      .trimEnd();
  const head = line(
    columns.map((column) => column.title),
    (text) => style.dim(text),
  );
  const body = cells.map((texts, row) =>
    line(texts, (text, index) => {
      const paint = columns[index]?.paint;
      const item = rows[row];
      return paint === undefined || item === undefined ? text : paint(text, item);
    }),
  );
  return `${[head, ...body].join("\n")}\n`;
}

export interface Fact {
  name: string;
  value: string;
  paint?: (text: string) => string;
}

/** Names and values, one a line; a value of several lines is indented below its name. */
export function renderFacts(facts: readonly Fact[], style: Style): string {
  const width = facts.reduce((most, { name }) => Math.max(most, name.length), 0);
  const lines = facts.map(({ name, value, paint }) => {
    const text = safeText(value);
    const shown = text.includes("\n") ? `\n${text.replace(/^/gm, GAP)}` : (paint?.(text) ?? text);
    return `${style.dim(name.padEnd(width))}${GAP}${shown}`.trimEnd();
  });
  return lines.map((line) => `${line}\n`).join("");
}
