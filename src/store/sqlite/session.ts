/** Rows of sessions. The transcript's state is read with them and written only by appending. */
import type { Database } from "bun:sqlite";
import { invalid, Problem } from "../../errors.ts";
import { headHex, ZERO_HEAD } from "../../lib/head.ts";
import type { NewEvent } from "../../schema/event.ts";
import type { Session } from "../../schema/session.ts";
import type { Change, Inserted, ListPage, SessionFilter, SessionQuery } from "../contract.ts";
import { insertEvents } from "./event.ts";
import { anyOf, beyond, type Condition, pageOut, where } from "./list.ts";
import { replaceMetadata } from "./metadata.ts";
import { first, type Parameters, run } from "./statement.ts";

const of_construct = (column: string): string =>
  `(SELECT c.${column} FROM construct c WHERE c.pk = s.construct)`;
const of_head = (column: string): string =>
  `(SELECT h.${column} FROM session_head h WHERE h.session = s.pk) AS ${column}`;

/** Scalar subqueries and no joins: see head.ts. */
const COLUMNS = `s.pk, s.id, ${of_construct("id")} AS construct_id, (SELECT p.id FROM session p WHERE p.pk = s.parent) AS parent_id, s.title, s.agent,
  s.model, s.status, s.status_since_at_ms, s.external_id, s.working_directory, s.branch, s.started_at_ms, s.ended_at_ms, ${of_head("last_seq")},
  ${of_head("head")}, ${of_head("dropped_through_seq")}, s.create_digest, s.revision, s.created_at_ms, s.updated_at_ms, s.deleted_at_ms,
  ${of_construct("deleted_at_ms")} IS NOT NULL AS construct_deleted,
  (SELECT w.id FROM workspace w WHERE w.pk = ${of_construct("workspace")}) AS workspace_id,
  (SELECT json_group_object(m.key, m.value) FROM session_metadata m WHERE m.session = s.pk) AS metadata`;

export const SESSION_SQL = {
  /** One session by its id; unique index; at most one row. */
  find: `SELECT ${COLUMNS} FROM session s WHERE s.id = $id`,
  /** The construct that a new session belongs to; unique index; at most one row. */
  construct: `SELECT c.pk, c.deleted_at_ms, w.id AS workspace_id FROM construct c JOIN workspace w ON w.pk = c.workspace WHERE c.id = $id`,
  /** The parent of a new session; unique index; at most one row. */
  parent: "SELECT pk, construct FROM session WHERE id = $id",
  insert: `INSERT INTO session (id, construct, parent, title, agent, model, status, status_since_at_ms, external_id, working_directory, branch,
             started_at_ms, ended_at_ms, create_digest, revision, created_at_ms, updated_at_ms, deleted_at_ms)
           VALUES ($id, $construct, $parent, $title, $agent, $model, $status, $status_since_at_ms, $external_id, $working_directory, $branch,
             $started_at_ms, $ended_at_ms, $create_digest, $revision, $created_at_ms, $updated_at_ms, $deleted_at_ms)`,
  insertHead: `INSERT INTO session_head (session, last_seq, head, sealed_through_seq, dropped_through_seq, dropped_head)
               SELECT pk, 0, $head, 0, 0, NULL FROM session WHERE id = $id`,
  update: `UPDATE session SET title = $title, agent = $agent, model = $model, status = $status, status_since_at_ms = $status_since_at_ms,
             external_id = $external_id, working_directory = $working_directory, branch = $branch, started_at_ms = $started_at_ms,
             ended_at_ms = $ended_at_ms, revision = $revision, updated_at_ms = $updated_at_ms, deleted_at_ms = $deleted_at_ms WHERE pk = $pk`,
};

type Row = Omit<Session, "metadata" | "head"> & {
  pk: number;
  create_digest: string;
  metadata: string;
  head: Uint8Array;
  construct_deleted: number;
  workspace_id: string;
};

function toSession({
  pk: _pk,
  create_digest: _digest,
  construct_deleted: _deleted,
  workspace_id: _workspace,
  ...row
}: Row): Session {
  return { ...row, head: headHex(row.head), metadata: JSON.parse(row.metadata) as Session["metadata"] };
}

function values(row: Session): Parameters {
  const { id, title, agent, model, status, status_since_at_ms, external_id, working_directory, branch } = row;
  const { started_at_ms, ended_at_ms, revision, created_at_ms, updated_at_ms, deleted_at_ms } = row;
  return {
    id,
    title,
    agent,
    model,
    status,
    status_since_at_ms,
    external_id,
    working_directory,
    branch,
    started_at_ms,
    ended_at_ms,
    revision,
    created_at_ms,
    updated_at_ms,
    deleted_at_ms,
  };
}

function parentOf(db: Database, row: Session, construct: number): number | null {
  if (row.parent_id === null) return null;
  const parent = first<{ pk: number; construct: number }>(db, SESSION_SQL.parent, { id: row.parent_id });
  if (parent === null) throw invalid("/parent_id", "There is no such session.");
  if (parent.construct !== construct) throw invalid("/parent_id", "The parent belongs to another construct.");
  return parent.pk;
}

export function insertSession(
  db: Database,
  row: Session,
  create_digest: string,
  events: (workspace_id: string) => NewEvent[],
): Inserted<Session> {
  const existing = first<Row>(db, SESSION_SQL.find, { id: row.id });
  if (existing !== null)
    return { created: false, row: toSession(existing), create_digest: existing.create_digest };
  const construct = first<{ pk: number; deleted_at_ms: number | null; workspace_id: string }>(
    db,
    SESSION_SQL.construct,
    { id: row.construct_id },
  );
  if (construct === null) throw invalid("/construct_id", "There is no such construct.");
  if (construct.deleted_at_ms !== null)
    throw new Problem("gone", "The construct is in the trash.", { hint: "Undelete the construct." });
  const parent = parentOf(db, row, construct.pk);
  run(db, SESSION_SQL.insert, { ...values(row), construct: construct.pk, parent, create_digest });
  run(db, SESSION_SQL.insertHead, { id: row.id, head: ZERO_HEAD });
  replaceMetadata(db, "session", first<Row>(db, SESSION_SQL.find, { id: row.id })?.pk ?? 0, row.metadata);
  insertEvents(db, events(construct.workspace_id));
  return { created: true, row, create_digest };
}

export function findSession(
  db: Database,
  id: string,
): { row: Session; workspace_id: string; construct_deleted: boolean } | null {
  const row = first<Row>(db, SESSION_SQL.find, { id });
  return row === null
    ? null
    : { row: toSession(row), workspace_id: row.workspace_id, construct_deleted: row.construct_deleted === 1 };
}

const SORT_COLUMN = { updated: "updated_at_ms", created: "created_at_ms" } as const;

/** A filter on another table's id, as a condition on its key here. */
function byId(
  column: string,
  table: "construct" | "workspace" | "session",
  ids: readonly string[] | undefined,
): Condition[] {
  return anyOf("x.id", `${table}_id`, ids).map(({ sql, parameters }) => ({
    sql:
      ids?.length === 1
        ? `${column} = (SELECT x.pk FROM ${table} x WHERE ${sql})`
        : `${column} IN (SELECT x.pk FROM ${table} x WHERE ${sql})`,
    parameters,
  }));
}

function conditionsOf(filter: SessionFilter): Condition[] {
  return [
    { sql: filter.deleted ? "s.deleted_at_ms IS NOT NULL" : "s.deleted_at_ms IS NULL", parameters: {} },
    { sql: `${of_construct("deleted_at_ms")} IS NULL`, parameters: {} },
    ...byId("s.construct", "construct", filter.construct_id),
    ...byId("y.workspace", "workspace", filter.workspace_id).map(({ sql, parameters }) => ({
      sql: `s.construct IN (SELECT y.pk FROM construct y WHERE ${sql})`,
      parameters,
    })),
    ...byId("s.parent", "session", filter.parent_id),
    ...anyOf("s.status", "status", filter.status),
    ...anyOf("s.agent", "agent", filter.agent),
    ...anyOf("s.external_id", "external_id", filter.external_id),
  ];
}

/** One page of sessions; session_by_construct, or the index named after the sort; at most limit + 1 rows. */
export function sessionListSql(query: SessionQuery): { sql: string; parameters: Parameters } {
  const column = SORT_COLUMN[query.sort];
  const position = beyond(
    `s.${column}`,
    "s.pk",
    "SELECT pk FROM session WHERE id = $position_id",
    query.order,
    query.position,
  );
  const { sql, parameters } = where([...conditionsOf(query), ...position]);
  const order = query.order === "asc" ? "ASC" : "DESC";
  return {
    sql: `SELECT ${COLUMNS} FROM session s ${sql} ORDER BY s.${column} ${order}, s.pk ${order} LIMIT $limit`,
    parameters: { ...parameters, limit: query.limit + 1 },
  };
}

/** Whether a list may look at many rows to find few: then it is for a thread of its own. */
export function sessionListScans({
  construct_id,
  parent_id,
  external_id,
  workspace_id,
  status,
  agent,
}: SessionQuery): boolean {
  if (construct_id !== undefined || parent_id !== undefined || external_id !== undefined) return false;
  return workspace_id !== undefined || status !== undefined || agent !== undefined;
}

export function sessionPage(rows: unknown[], query: SessionQuery): ListPage<Session> {
  return pageOut((rows as Row[]).map(toSession), query.limit, (row) => row[SORT_COLUMN[query.sort]]);
}

export function sessionCountSql(filter: SessionFilter): { sql: string; parameters: Parameters } {
  const { sql, parameters } = where(conditionsOf(filter));
  return { sql: `SELECT count(*) AS total FROM session s ${sql}`, parameters };
}

export function updateSession(
  db: Database,
  id: string,
  rule: (current: Session, context: { workspace_id: string; construct_deleted: boolean }) => Change<Session>,
): Session | null {
  const stored = first<Row>(db, SESSION_SQL.find, { id });
  if (stored === null) return null;
  const current = toSession(stored);
  const { row, events } = rule(current, {
    workspace_id: stored.workspace_id,
    construct_deleted: stored.construct_deleted === 1,
  });
  if (row === null) return current;
  const { id: _id, created_at_ms: _created, ...changed } = values(row);
  run(db, SESSION_SQL.update, { ...changed, pk: stored.pk });
  replaceMetadata(db, "session", stored.pk, row.metadata);
  insertEvents(db, events);
  return row;
}
