/**
 * Prepared statements, one for each text and connection, for as long as the connection lives. Bun's own cache
 * behind `query()` forgets after twenty.
 */
import type { Database, SQLQueryBindings, Statement } from "bun:sqlite";

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
  for (const found of prepared.get(db)?.values() ?? []) found.finalize();
  prepared.delete(db);
}
