/** Rows of workspaces. */
import type { Database } from "bun:sqlite";
import { Problem } from "../../errors.ts";
import type { NewEvent } from "../../schema/event.ts";
import type { Workspace } from "../../schema/workspace.ts";
import type { Inserted, ListPage, Rule, WorkspaceQuery } from "../contract.ts";
import { insertEvents } from "./event.ts";
import { beyond, containing, pageOut, where } from "./list.ts";
import { replaceMetadata } from "./metadata.ts";
import { allBuilt, first, type Parameters, run } from "./statement.ts";

const COLUMNS = `w.pk, w.id, w.name, w.description, w.repository, w.path, w.create_digest, w.revision, w.created_at_ms, w.updated_at_ms,
  (SELECT json_group_object(m.key, m.value) FROM workspace_metadata m WHERE m.workspace = w.pk) AS metadata`;

export const WORKSPACE_SQL = {
  /** One workspace by its id; unique index; at most one row. */
  find: `SELECT ${COLUMNS} FROM workspace w WHERE w.id = $id`,
  /** Whether another workspace has the name; unique index; at most one row. */
  named: "SELECT 1 AS found FROM workspace WHERE name = $name AND id <> $id",
  /** Whether constructs are left, also trashed ones; construct_by_workspace; at most one row. */
  occupied: "SELECT 1 AS found FROM construct WHERE workspace = $pk LIMIT 1",
  insert: `INSERT INTO workspace (id, name, description, repository, path, create_digest, revision, created_at_ms, updated_at_ms)
           VALUES ($id, $name, $description, $repository, $path, $create_digest, $revision, $created_at_ms, $updated_at_ms)`,
  update: `UPDATE workspace SET name = $name, description = $description, repository = $repository, path = $path,
             revision = $revision, updated_at_ms = $updated_at_ms WHERE pk = $pk`,
  delete: "DELETE FROM workspace WHERE pk = $pk",
};

type Row = Omit<Workspace, "metadata"> & { pk: number; create_digest: string; metadata: string };

function toWorkspace({ pk: _pk, create_digest: _digest, ...row }: Row): Workspace {
  return { ...row, metadata: JSON.parse(row.metadata) as Workspace["metadata"] };
}

function values(row: Workspace): Parameters {
  const { metadata: _metadata, ...columns } = row;
  return columns;
}

function requireFreeName(db: Database, row: Workspace): void {
  if (first(db, WORKSPACE_SQL.named, { name: row.name, id: row.id }) !== null) {
    throw new Problem("conflict", "Another workspace has this name.", {
      errors: [{ pointer: "/name", detail: "is taken" }],
    });
  }
}

export function insertWorkspace(
  db: Database,
  row: Workspace,
  create_digest: string,
  events: readonly NewEvent[],
): Inserted<Workspace> {
  const existing = first<Row>(db, WORKSPACE_SQL.find, { id: row.id });
  if (existing !== null)
    return { created: false, row: toWorkspace(existing), create_digest: existing.create_digest };
  requireFreeName(db, row);
  run(db, WORKSPACE_SQL.insert, { ...values(row), create_digest });
  const pk = first<Row>(db, WORKSPACE_SQL.find, { id: row.id })?.pk ?? 0;
  replaceMetadata(db, "workspace", pk, row.metadata);
  insertEvents(db, events);
  return { created: true, row, create_digest };
}

export function findWorkspace(db: Database, id: string): Workspace | null {
  const row = first<Row>(db, WORKSPACE_SQL.find, { id });
  return row === null ? null : toWorkspace(row);
}

/** Workspaces by name; the unique index on name gives the order; at most limit + 1 rows. */
export function workspaceListSql(query: WorkspaceQuery): { sql: string; parameters: Parameters } {
  const conditions = [
    ...containing(["w.name"], query.q),
    ...beyond("w.name", "w.pk", "SELECT pk FROM workspace WHERE id = $position_id", "asc", query.position),
  ];
  const { sql, parameters } = where(conditions);
  return {
    sql: `SELECT ${COLUMNS} FROM workspace w ${sql} ORDER BY w.name, w.pk LIMIT $limit`,
    parameters: { ...parameters, limit: query.limit + 1 },
  };
}

export function listWorkspaces(db: Database, query: WorkspaceQuery): ListPage<Workspace> {
  const { sql, parameters } = workspaceListSql(query);
  return pageOut(allBuilt<Row>(db, sql, parameters).map(toWorkspace), query.limit, (row) => row.name);
}

export function workspaceCountSql(query: Pick<WorkspaceQuery, "q">): { sql: string; parameters: Parameters } {
  const { sql, parameters } = where(containing(["w.name"], query.q));
  return { sql: `SELECT count(*) AS total FROM workspace w ${sql}`, parameters };
}

export function updateWorkspace(db: Database, id: string, rule: Rule<Workspace>): Workspace | null {
  const stored = first<Row>(db, WORKSPACE_SQL.find, { id });
  if (stored === null) return null;
  const current = toWorkspace(stored);
  const { row, events } = rule(current);
  if (row === null) return current;
  requireFreeName(db, row);
  const { id: _id, created_at_ms: _created, ...changed } = values(row);
  run(db, WORKSPACE_SQL.update, { ...changed, pk: stored.pk });
  replaceMetadata(db, "workspace", stored.pk, row.metadata);
  insertEvents(db, events);
  return row;
}

export function deleteWorkspace(
  db: Database,
  id: string,
  rule: (current: Workspace) => NewEvent[],
): Workspace | null {
  const stored = first<Row>(db, WORKSPACE_SQL.find, { id });
  if (stored === null) return null;
  const current = toWorkspace(stored);
  const events = rule(current);
  if (first(db, WORKSPACE_SQL.occupied, { pk: stored.pk }) !== null)
    throw new Problem("conflict", "The workspace still holds constructs, possibly in the trash.");
  run(db, WORKSPACE_SQL.delete, { pk: stored.pk });
  insertEvents(db, events);
  return current;
}
