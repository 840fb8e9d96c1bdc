/** Tables and lists of facts that fit the width they are given. Pure: values in, text out. */
import type { Style } from "./colour.ts";
import { safeLine, safeText } from "./safe-text.ts";

export interface Column<Row> {
  title: string;
  /** The plain text of a cell. */
  text: (row: Row) => string;
  /** Its colours, put on after it was cut. */
  paint?: (text: string, row: Row) => string;
  align?: "right";
  /** Columns may be cut down to this when the table is too wide; the others never are. */
  min_columns?: number;
  /** Left out, the last first, when the terminal is too narrow for all. */
  may_go?: true;
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

/** The columns that stay: where even the smallest widths are too wide, the last ones that may go do so. */
function keepColumns<Row>(
  columns: readonly Column<Row>[],
  natural: readonly number[],
  width: number,
): number[] {
  const kept = columns.map((_, index) => index);
  const smallest = (): number =>
    kept.reduce(
      (sum, index) => sum + Math.min(natural[index] ?? 0, columns[index]?.min_columns ?? Infinity),
      0,
    ) +
    GAP.length * (kept.length - 1);
  while (smallest() > width) {
    const last = kept.findLastIndex((index) => columns[index]?.may_go === true);
    if (last === -1) break;
    kept.splice(last, 1);
  }
  return kept;
}

/** Rows under their titles, each a line with a newline; nothing for no rows. */
export function renderTable<Row>(
  rows: readonly Row[],
  all_columns: readonly Column<Row>[],
  width: number,
  style: Style,
): string {
  if (rows.length === 0) return "";
  const widest = (column: Column<Row>): number =>
    rows.reduce(
      (most, row) => Math.max(most, Bun.stringWidth(safeLine(column.text(row)))),
      column.title.length,
    );
  const all_natural = all_columns.map(widest);
  const kept = keepColumns(all_columns, all_natural, width);
  const columns = all_columns.filter((_, index) => kept.includes(index));
  const natural = all_natural.filter((_, index) => kept.includes(index));
  const widths = fitWidths(
    natural,
    columns.map((column) => column.min_columns),
    width,
  );

  const line = (
    cell: (column: Column<Row>) => string,
    paint: (text: string, column: Column<Row>) => string,
  ): string =>
    columns
      .map((column, index) => {
        const cut = Bun.sliceAnsi(cell(column), 0, widths[index] ?? 0, "…");
        const space = " ".repeat(Math.max(0, (widths[index] ?? 0) - Bun.stringWidth(cut)));
        return column.align === "right" ? space + paint(cut, column) : paint(cut, column) + space;
      })
      .join(GAP)
      .trimEnd();
  const head = line(
    ({ title }) => title,
    (text) => style.dim(text),
  );
  const body = rows.map((row) =>
    line(
      ({ text }) => safeLine(text(row)),
      (text, { paint }) => paint?.(text, row) ?? text,
    ),
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
