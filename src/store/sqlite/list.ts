/**
 * Keyset lists: a SELECT with conditions that are put together from constant pieces, ordered by one column and pk.
 * Values only ever travel as parameters. Several values of one filter travel as one JSON array.
 */
import type { ListPage, ListPosition } from "../contract.ts";
import type { Parameters } from "./statement.ts";

export interface Condition {
  sql: string;
  parameters: Parameters;
}

/** `column = value` for one value, so that an index on it also gives the order; `IN` for several. Absent: no condition. */
export function anyOf(column: string, name: string, values: readonly string[] | undefined): Condition[] {
  if (values === undefined) return [];
  const [only] = values;
  if (values.length === 1 && only !== undefined)
    return [{ sql: `${column} = $${name}`, parameters: { [name]: only } }];
  return [
    {
      sql: `${column} IN (SELECT value FROM json_each($${name}))`,
      parameters: { [name]: JSON.stringify(values) },
    },
  ];
}

/** A case-insensitive part of one of the columns. SQLite's LIKE folds ASCII only. */
export function containing(columns: readonly string[], text: string | undefined): Condition[] {
  if (text === undefined) return [];
  const pattern = `%${text.replaceAll(/[\\%_]/g, (special) => `\\${special}`)}%`;
  return [
    {
      sql: `(${columns.map((column) => `${column} LIKE $q ESCAPE '\\'`).join(" OR ")})`,
      parameters: { q: pattern },
    },
  ];
}

/** Rows behind a position in the order of (column, pk). `pk_of` finds the pk of the position's id. */
export function beyond(
  column: string,
  pk: string,
  pk_of: string,
  order: "asc" | "desc",
  position: ListPosition | undefined,
): Condition[] {
  if (position === undefined) return [];
  const sql = `(${column}, ${pk}) ${order === "asc" ? ">" : "<"} ($position, (${pk_of}))`;
  return [{ sql, parameters: { position: position.value, position_id: position.id } }];
}

export function where(conditions: readonly Condition[]): { sql: string; parameters: Parameters } {
  return {
    sql: conditions.length === 0 ? "" : `WHERE ${conditions.map(({ sql }) => sql).join(" AND ")}`,
    parameters: Object.assign({}, ...conditions.map(({ parameters }) => parameters)) as Parameters,
  };
}

/** A page out of one row more than was asked for: the extra one only tells that the list goes on. */
export function pageOut<Row extends { id: string }>(
  rows: readonly Row[],
  limit: number,
  value: (row: Row) => string | number,
): ListPage<Row> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return {
    items,
    next: rows.length > limit && last !== undefined ? { value: value(last), id: last.id } : null,
  };
}
