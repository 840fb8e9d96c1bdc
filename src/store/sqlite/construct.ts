/** Rows of constructs, their labels, metadata and status periods. */
import type { Database } from "bun:sqlite";
import { invalid } from "../../errors.ts";
import type { Actor } from "../../schema/common.ts";
import type { Construct, ConstructSort, StatusPeriod } from "../../schema/construct.ts";
import type { NewEvent } from "../../schema/event.ts";
import type { ConstructFilter, ConstructQuery, Inserted, ListPage, Rule } from "../contract.ts";
import { limit } from "../../limits.ts";
import { insertEvents } from "./event.ts";
import { anyOf, beyond, type Condition, containing, pageOut, where } from "./list.ts";
import { replaceMetadata } from "./metadata.ts";
import { all, first, type Parameters, run } from "./statement.ts";

const OF_LABELS = "FROM construct_label l WHERE l.construct = c.pk";
const OF_METADATA = "FROM construct_metadata m WHERE m.construct = c.pk";

/** Null stands for no labels and no metadata: to ask first costs less than to make an empty array. */
const COLUMNS = `c.id, (SELECT w.id FROM workspace w WHERE w.pk = c.workspace) AS workspace_id, c.title, c.brief, c.type, c.status,
  c.status_since_at_ms, c.agent, c.branch, c.worktree_path, c.pinned, c.revision, c.created_at_ms, c.updated_at_ms, c.deleted_at_ms,
  CASE WHEN EXISTS (SELECT 1 ${OF_LABELS}) THEN (SELECT json_group_array(l.label) ${OF_LABELS}) END AS labels,
  CASE WHEN EXISTS (SELECT 1 ${OF_METADATA}) THEN (SELECT json_group_object(m.key, m.value) ${OF_METADATA}) END AS metadata`;

export const CONSTRUCT_SQL = {
  /** One construct by its id; unique index; at most one row. */
  find: `SELECT c.pk, c.create_digest, ${COLUMNS} FROM construct c WHERE c.id = $id`,
  insert: `INSERT INTO construct (id, workspace, title, brief, type, status, status_since_at_ms, agent, branch, worktree_path, pinned,
             create_digest, revision, created_at_ms, updated_at_ms, deleted_at_ms)
           SELECT $id, w.pk, $title, $brief, $type, $status, $status_since_at_ms, $agent, $branch, $worktree_path, $pinned,
             $create_digest, $revision, $created_at_ms, $updated_at_ms, $deleted_at_ms FROM workspace w WHERE w.id = $workspace_id`,
  update: `UPDATE construct SET title = $title, brief = $brief, type = $type, status = $status, status_since_at_ms = $status_since_at_ms,
             agent = $agent, branch = $branch, worktree_path = $worktree_path, pinned = $pinned, revision = $revision,
             updated_at_ms = $updated_at_ms, deleted_at_ms = $deleted_at_ms WHERE pk = $pk`,
  clearLabels: "DELETE FROM construct_label WHERE construct = $construct",
  insertLabel: "INSERT INTO construct_label (construct, label) VALUES ($construct, $label)",
  /** Ends the present period; primary key, the last row of the construct. */
  endStatus: `UPDATE construct_status SET until_at_ms = $at_ms WHERE construct = $construct AND until_at_ms IS NULL`,
  beginStatus: `INSERT INTO construct_status (construct, number, status, from_at_ms, until_at_ms, actor, reason)
                SELECT $construct, coalesce(max(number), 0) + 1, $status, $at_ms, NULL, $actor, $reason FROM construct_status WHERE construct = $construct`,
  /** The last statuses of a construct, the newest first; primary key; at most $limit rows. */
  statuses: `SELECT s.status, s.from_at_ms, s.until_at_ms, s.actor, s.reason FROM construct_status s
             WHERE s.construct = (SELECT pk FROM construct WHERE id = $id) ORDER BY s.number DESC LIMIT $limit`,
};

const SORT_COLUMN: Record<ConstructSort, "updated_at_ms" | "created_at_ms" | "status_since_at_ms" | "title"> =
  {
    updated: "updated_at_ms",
    created: "created_at_ms",
    status_since: "status_since_at_ms",
    title: "title",
  };

type ListRow = Omit<Construct, "labels" | "metadata" | "pinned"> & {
  labels: string | null;
  metadata: string | null;
  pinned: number;
};

/** The row object itself becomes the construct: a page of fifty is made without copies. */
function toConstruct(row: ListRow): Construct {
  const construct = row as unknown as Construct;
  construct.labels = row.labels === null ? [] : (JSON.parse(row.labels) as string[]);
  construct.metadata = row.metadata === null ? {} : (JSON.parse(row.metadata) as Construct["metadata"]);
  construct.pinned = row.pinned === 1;
  return construct;
}

interface Stored {
  pk: number;
  create_digest: string;
  construct: Construct;
}

function findStored(db: Database, id: string): Stored | null {
  const found = first<ListRow & Omit<Stored, "construct">>(db, CONSTRUCT_SQL.find, { id });
  if (found === null) return null;
  const { pk, create_digest, ...row } = found;
  return { pk, create_digest, construct: toConstruct(row) };
}

function values(row: Construct): Parameters {
  const { metadata: _metadata, labels: _labels, pinned, ...columns } = row;
  return { ...columns, pinned: pinned ? 1 : 0 };
}

function replaceLabels(db: Database, pk: number, labels: readonly string[]): void {
  run(db, CONSTRUCT_SQL.clearLabels, { construct: pk });
  for (const label of labels) run(db, CONSTRUCT_SQL.insertLabel, { construct: pk, label });
}

function beginStatus(db: Database, pk: number, row: Construct, actor: Actor, reason: string | null): void {
  run(db, CONSTRUCT_SQL.beginStatus, {
    construct: pk,
    status: row.status,
    at_ms: row.status_since_at_ms,
    actor,
    reason,
  });
}

export function insertConstruct(
  db: Database,
  row: Construct,
  create_digest: string,
  events: readonly NewEvent[],
  actor: Actor,
): Inserted<Construct> {
  const existing = findStored(db, row.id);
  if (existing !== null)
    return { created: false, row: existing.construct, create_digest: existing.create_digest };
  if (run(db, CONSTRUCT_SQL.insert, { ...values(row), create_digest }) === 0)
    throw invalid("/workspace_id", "There is no such workspace.");
  const pk = findStored(db, row.id)?.pk ?? 0;
  replaceLabels(db, pk, row.labels);
  replaceMetadata(db, "construct", pk, row.metadata);
  beginStatus(db, pk, row, actor, null);
  insertEvents(db, events);
  return { created: true, row, create_digest };
}

export function findConstruct(db: Database, id: string): Construct | null {
  return findStored(db, id)?.construct ?? null;
}

function between(column: string, after: number | undefined, before: number | undefined): Condition[] {
  const conditions: Condition[] = [];
  if (after !== undefined)
    conditions.push({ sql: `c.${column} > $${column}_after`, parameters: { [`${column}_after`]: after } });
  if (before !== undefined)
    conditions.push({ sql: `c.${column} < $${column}_before`, parameters: { [`${column}_before`]: before } });
  return conditions;
}

function inWorkspaces(ids: readonly string[] | undefined): Condition[] {
  return anyOf("x.id", "workspace", ids).map(({ sql, parameters }) => ({
    sql:
      ids?.length === 1
        ? `c.workspace = (SELECT x.pk FROM workspace x WHERE ${sql})`
        : `c.workspace IN (SELECT x.pk FROM workspace x WHERE ${sql})`,
    parameters,
  }));
}

function withMetadata(metadata: Record<string, string[]> | undefined): Condition[] {
  return Object.entries(metadata ?? {}).map(([key, wanted], index) => ({
    sql: `c.pk IN (SELECT m.construct FROM construct_metadata m WHERE m.key = $key_${index} AND m.value IN (SELECT value FROM json_each($value_${index})))`,
    parameters: { [`key_${index}`]: key, [`value_${index}`]: JSON.stringify(wanted) },
  }));
}

function conditionsOf(filter: ConstructFilter): Condition[] {
  return [
    { sql: filter.deleted ? "c.deleted_at_ms IS NOT NULL" : "c.deleted_at_ms IS NULL", parameters: {} },
    ...inWorkspaces(filter.workspace_id),
    ...anyOf("c.status", "status", filter.status),
    ...anyOf("c.type", "type", filter.type),
    ...anyOf("c.agent", "agent", filter.agent),
    ...anyOf("c.branch", "branch", filter.branch),
    ...anyOf("l.label", "label", filter.label).map(({ sql, parameters }) => ({
      sql: `c.pk IN (SELECT l.construct FROM construct_label l WHERE ${sql})`,
      parameters,
    })),
    ...(filter.pinned === undefined
      ? []
      : [{ sql: "c.pinned = $pinned", parameters: { pinned: filter.pinned ? 1 : 0 } }]),
    ...between("created_at_ms", filter.created_after, filter.created_before),
    ...between("updated_at_ms", filter.updated_after, filter.updated_before),
    ...withMetadata(filter.metadata),
    ...containing(["c.title", "c.brief"], filter.q),
  ];
}

/** One page of constructs; the index named after the sort, or the one of a single filter; at most limit + 1 rows. */
export function constructListSql(query: ConstructQuery): { sql: string; parameters: Parameters } {
  const column = SORT_COLUMN[query.sort];
  const position = beyond(
    `c.${column}`,
    "c.pk",
    "SELECT pk FROM construct WHERE id = $position_id",
    query.order,
    query.position,
  );
  const { sql, parameters } = where([...conditionsOf(query), ...position]);
  const order = query.order === "asc" ? "ASC" : "DESC";
  return {
    sql: `SELECT ${COLUMNS} FROM construct c ${sql} ORDER BY c.${column} ${order}, c.pk ${order} LIMIT $limit`,
    parameters: { ...parameters, limit: query.limit + 1 },
  };
}

/** Whether a list may look at many rows to find few: then it is for a thread of its own. One indexed filter is not. */
export function constructListScans({
  sort,
  order: _order,
  limit: _limit,
  position: _position,
  deleted: _deleted,
  ...filter
}: ConstructQuery): boolean {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined);
  const indexed = ["workspace_id", "status", "type", "agent", "branch"];
  return (
    given.length > 1 ||
    given.some(([name]) => !indexed.includes(name)) ||
    (given.length > 0 && sort !== "updated")
  );
}

export function constructPage(rows: unknown[], query: ConstructQuery): ListPage<Construct> {
  return pageOut((rows as ListRow[]).map(toConstruct), query.limit, (row) => row[SORT_COLUMN[query.sort]]);
}

export function constructCountSql(filter: ConstructFilter): { sql: string; parameters: Parameters } {
  const { sql, parameters } = where(conditionsOf(filter));
  return { sql: `SELECT count(*) AS total FROM construct c ${sql}`, parameters };
}

export function updateConstruct(
  db: Database,
  id: string,
  rule: Rule<Construct>,
  by: { actor: Actor; status_reason?: string },
): Construct | null {
  const stored = findStored(db, id);
  if (stored === null) return null;
  const { pk, construct: current } = stored;
  const { row, events } = rule(current);
  if (row === null) return current;
  const { id: _id, workspace_id: _workspace, created_at_ms: _created, ...changed } = values(row);
  run(db, CONSTRUCT_SQL.update, { ...changed, pk });
  replaceLabels(db, pk, row.labels);
  replaceMetadata(db, "construct", pk, row.metadata);
  if (row.status !== current.status) {
    run(db, CONSTRUCT_SQL.endStatus, { construct: pk, at_ms: row.status_since_at_ms });
    beginStatus(db, pk, row, by.actor, by.status_reason ?? null);
  }
  insertEvents(db, events);
  return row;
}

export function listStatuses(db: Database, id: string): StatusPeriod[] {
  return all<StatusPeriod>(db, CONSTRUCT_SQL.statuses, {
    id,
    limit: limit("children_list_count"),
  }).toReversed();
}
