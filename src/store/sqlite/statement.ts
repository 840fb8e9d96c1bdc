/**
 * Prepared statements, one for each text and connection, for as long as the connection lives. Bun's own cache
 * behind `query()` forgets after twenty.
 */
import type { Database, SQLQueryBindings, Statement } from "bun:sqlite";
import { limit } from "../../limits.ts";

export type Parameters = Record<string, SQLQueryBindings>;

const prepared = new WeakMap<Database, Map<string, Statement>>();

function statement(db: Database, sql: string): Statement {
  let statements = prepared.get(db);
  if (statements === undefined) {
    statements = new Map();
    prepared.set(db, statements);
  }
  let found = statements.get(sql);
  if (found === undefined) {
    found = db.prepare(sql);
    statements.set(sql, found);
  }
  return found;
}

const built = new WeakMap<Database, Map<string, Statement>>();

/** All rows of a statement that was put together: there are many shapes of those, so only the latest stay prepared. */
export function allBuilt<Row>(db: Database, sql: string, parameters: Parameters): Row[] {
  const statements = built.get(db) ?? new Map<string, Statement>();
  built.set(db, statements);
  const found = statements.get(sql) ?? db.prepare(sql);
  statements.delete(sql);
  statements.set(sql, found);
  for (const [oldest, unused] of statements) {
    if (statements.size <= limit("statements_count")) break;
    unused.finalize();
    statements.delete(oldest);
  }
  return found.all(parameters) as Row[];
}

/** All rows as objects. */
export function all<Row>(db: Database, sql: string, parameters: Parameters = {}): Row[] {
  return statement(db, sql).all(parameters) as Row[];
}

/** The first row or null. Only for statements that read: on a writing one the automatic checkpoint never runs (facts 2). */
export function first<Row>(db: Database, sql: string, parameters: Parameters = {}): Row | null {
  return (statement(db, sql).get(parameters) ?? null) as Row | null;
}

/** Executes a statement that writes; gives the number of changed rows. */
export function run(db: Database, sql: string, parameters: Parameters = {}): number {
  return statement(db, sql).run(parameters).changes;
}

/** Ends all statements of a connection, so that it can be closed. */
export function finalizeStatements(db: Database): void {
  for (const kept of [prepared, built]) {
    for (const found of kept.get(db)?.values() ?? []) found.finalize();
    kept.delete(db);
  }
}
