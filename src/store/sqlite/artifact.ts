/** Rows of artifacts. What is said of the bytes; the bytes themselves are files (blob/). */
import type { Database } from "bun:sqlite";
import { invalid, Problem } from "../../errors.ts";
import type { ArtifactRow, ArtifactSort } from "../../schema/artifact.ts";
import type { NewEvent } from "../../schema/event.ts";
import type {
  ArtifactContent,
  ArtifactFilter,
  ArtifactOwner,
  ArtifactQuery,
  Change,
  Inserted,
  ListPage,
} from "../contract.ts";
import { insertEvents } from "./event.ts";
import { anyOf, beyond, type Condition, pageOut, where } from "./list.ts";
import { replaceMetadata } from "./metadata.ts";
import { all, first, type Parameters, run } from "./statement.ts";

const of_construct = (column: string): string =>
  `(SELECT c.${column} FROM construct c WHERE c.pk = a.construct)`;

/** Scalar subqueries and no joins: see head.ts. */
const COLUMNS = `a.pk, a.id, ${of_construct("id")} AS construct_id, (SELECT s.id FROM session s WHERE s.pk = a.session) AS session_id,
  a.entry_seq, a.type, a.name, a.media_type, a.state, a.sha256, a.size_bytes, a.create_digest, a.revision, a.created_at_ms, a.updated_at_ms,
  a.deleted_at_ms, ${of_construct("deleted_at_ms")} IS NOT NULL AS construct_deleted,
  (SELECT w.id FROM workspace w WHERE w.pk = ${of_construct("workspace")}) AS workspace_id,
  (SELECT json_group_object(m.key, m.value) FROM artifact_metadata m WHERE m.artifact = a.pk) AS metadata`;

export const ARTIFACT_SQL = {
  /** One artifact by its id; unique index; at most one row. */
  find: `SELECT ${COLUMNS} FROM artifact a WHERE a.id = $id`,
  /** What it takes to serve its bytes; unique index; at most one row. */
  content: `SELECT a.id, ${of_construct("id")} AS construct_id, a.type, a.name, a.media_type, a.state, a.sha256, a.size_bytes, a.deleted_at_ms,
              ${of_construct("deleted_at_ms")} IS NOT NULL AS construct_deleted FROM artifact a WHERE a.id = $id`,
  /** The construct of a new artifact; unique index; at most one row. */
  construct: `SELECT c.pk, c.deleted_at_ms, w.id AS workspace_id FROM construct c JOIN workspace w ON w.pk = c.workspace WHERE c.id = $id`,
  /** The session of a new artifact; unique index; at most one row. */
  session: `SELECT s.pk, s.construct, s.deleted_at_ms, h.last_seq FROM session s JOIN session_head h ON h.session = s.pk WHERE s.id = $id`,
  insert: `INSERT INTO artifact (id, construct, session, entry_seq, type, name, media_type, state, sha256, size_bytes, create_digest, revision,
             created_at_ms, updated_at_ms, deleted_at_ms)
           VALUES ($id, $construct, $session, $entry_seq, $type, $name, $media_type, $state, $sha256, $size_bytes, $create_digest, $revision,
             $created_at_ms, $updated_at_ms, $deleted_at_ms)`,
  update: `UPDATE artifact SET state = $state, sha256 = $sha256, size_bytes = $size_bytes, revision = $revision, updated_at_ms = $updated_at_ms,
             deleted_at_ms = $deleted_at_ms WHERE pk = $pk`,
  /** Whether a row names these bytes, also a deleted one; artifact_by_blob; one row. */
  names: `SELECT EXISTS (SELECT 1 FROM artifact a WHERE a.sha256 = $sha256 AND a.type = $type AND ${of_construct("id")} = $construct_id) AS found`,
  /** Rows in the order of their making, from one on; primary key; at most $limit rows. */
  scan: `SELECT ${COLUMNS} FROM artifact a WHERE a.pk > $after ORDER BY a.pk LIMIT $limit`,
  /** Rows that were deleted before; artifact_deleted; at most $limit rows. */
  purge: `DELETE FROM artifact WHERE pk IN (SELECT pk FROM artifact WHERE deleted_at_ms < $before ORDER BY deleted_at_ms LIMIT $limit)`,
};

type Row = Omit<ArtifactRow, "metadata"> & {
  pk: number;
  create_digest: string;
  metadata: string;
  construct_deleted: number;
  workspace_id: string;
};

function toArtifact(row: Row): ArtifactRow {
  const {
    pk: _pk,
    create_digest: _digest,
    construct_deleted: _deleted,
    workspace_id: _workspace,
    ...kept
  } = row;
  return { ...kept, metadata: JSON.parse(row.metadata) as ArtifactRow["metadata"] };
}

function ownerOf({ workspace_id, construct_deleted }: Row): ArtifactOwner {
  return { workspace_id, construct_deleted: construct_deleted === 1 };
}

/** Errors: `invalid_request` for a session or an entry that is not there or elsewhere. */
function sessionOf(db: Database, row: ArtifactRow, construct: number): number | null {
  if (row.session_id === null) {
    if (row.entry_seq !== null) throw invalid("entry_seq", "An entry needs its session_id.");
    return null;
  }
  const session = first<{ pk: number; construct: number; deleted_at_ms: number | null; last_seq: number }>(
    db,
    ARTIFACT_SQL.session,
    { id: row.session_id },
  );
  if (session === null || session.deleted_at_ms !== null)
    throw invalid("session_id", "There is no such session.");
  if (session.construct !== construct)
    throw invalid("session_id", "The session belongs to another construct.");
  if (row.entry_seq !== null && row.entry_seq > session.last_seq)
    throw invalid("entry_seq", `The session ends at ${session.last_seq}.`);
  return session.pk;
}

export function insertArtifact(
  db: Database,
  row: ArtifactRow,
  create_digest: string,
  events: (workspace_id: string) => NewEvent[],
): Inserted<ArtifactRow> {
  const existing = first<Row>(db, ARTIFACT_SQL.find, { id: row.id });
  if (existing !== null)
    return { created: false, row: toArtifact(existing), create_digest: existing.create_digest };
  const construct = first<{ pk: number; deleted_at_ms: number | null; workspace_id: string }>(
    db,
    ARTIFACT_SQL.construct,
    { id: row.construct_id },
  );
  if (construct === null) throw invalid("construct_id", "There is no such construct.");
  if (construct.deleted_at_ms !== null)
    throw new Problem("gone", "The construct is in the trash.", { hint: "Undelete the construct." });
  const session = sessionOf(db, row, construct.pk);
  const { construct_id: _construct, session_id: _session, metadata, ...columns } = row;
  run(db, ARTIFACT_SQL.insert, { ...columns, construct: construct.pk, session, create_digest });
  replaceMetadata(db, "artifact", first<Row>(db, ARTIFACT_SQL.find, { id: row.id })?.pk ?? 0, metadata);
  insertEvents(db, events(construct.workspace_id));
  return { created: true, row, create_digest };
}

export function findArtifact(db: Database, id: string): (ArtifactOwner & { row: ArtifactRow }) | null {
  const found = first<Row>(db, ARTIFACT_SQL.find, { id });
  return found === null ? null : { row: toArtifact(found), ...ownerOf(found) };
}

export function findArtifactContent(db: Database, id: string): ArtifactContent | null {
  const found = first<Omit<ArtifactContent, "construct_deleted"> & { construct_deleted: number }>(
    db,
    ARTIFACT_SQL.content,
    { id },
  );
  return found === null ? null : { ...found, construct_deleted: found.construct_deleted === 1 };
}

export function updateArtifact(
  db: Database,
  id: string,
  rule: (current: ArtifactRow, owner: ArtifactOwner) => Change<ArtifactRow>,
): ArtifactRow | null {
  const stored = first<Row>(db, ARTIFACT_SQL.find, { id });
  if (stored === null) return null;
  const current = toArtifact(stored);
  const { row, events } = rule(current, ownerOf(stored));
  if (row === null) return current;
  const { state, sha256, size_bytes, revision, updated_at_ms, deleted_at_ms } = row;
  run(db, ARTIFACT_SQL.update, {
    state,
    sha256,
    size_bytes,
    revision,
    updated_at_ms,
    deleted_at_ms,
    pk: stored.pk,
  });
  insertEvents(db, events);
  return row;
}

export function namesBlob(
  db: Database,
  key: { construct_id: string; type: string; sha256: string },
): boolean {
  return first<{ found: number }>(db, ARTIFACT_SQL.names, { ...key })?.found === 1;
}

export function scanArtifacts(
  db: Database,
  after: number,
  limit: number,
): { rows: ArtifactRow[]; next: number | null } {
  const rows = all<Row>(db, ARTIFACT_SQL.scan, { after, limit });
  return { rows: rows.map(toArtifact), next: rows.length < limit ? null : (rows.at(-1)?.pk ?? null) };
}

export function purgeArtifacts(db: Database, before: number, limit: number): number {
  return run(db, ARTIFACT_SQL.purge, { before, limit });
}

const SORT_COLUMN: Record<ArtifactSort, "created_at_ms" | "name" | "size_bytes"> = {
  created: "created_at_ms",
  name: "name",
  size: "size_bytes",
};

/** The first text behind all that begin with a prefix. */
function behindPrefix(prefix: string): string {
  return `${prefix}\u{10ffff}`;
}

function conditionsOf(filter: ArtifactFilter): Condition[] {
  const at_least = (
    column: string,
    name: string,
    sign: string,
    value: number | string | undefined,
  ): Condition[] =>
    value === undefined ? [] : [{ sql: `a.${column} ${sign} $${name}`, parameters: { [name]: value } }];
  const by = (column: string, table: string, ids: readonly string[] | undefined): Condition[] =>
    anyOf("x.id", `${table}_id`, ids).map(({ sql, parameters }) => ({
      sql: `a.${column} ${ids?.length === 1 ? "=" : "IN"} (SELECT x.pk FROM ${table} x WHERE ${sql})`,
      parameters,
    }));
  return [
    { sql: "a.deleted_at_ms IS NULL", parameters: {} },
    { sql: `${of_construct("deleted_at_ms")} IS NULL`, parameters: {} },
    ...by("construct", "construct", filter.construct_id),
    ...by("session", "session", filter.session_id),
    ...anyOf("a.type", "type", filter.type),
    ...anyOf("a.state", "state", filter.state),
    ...anyOf("a.sha256", "sha256", filter.sha256),
    ...at_least("name", "name_from", ">=", filter.name_prefix),
    ...at_least(
      "name",
      "name_to",
      "<",
      filter.name_prefix === undefined ? undefined : behindPrefix(filter.name_prefix),
    ),
    ...at_least("size_bytes", "size_from", ">=", filter.size_at_least),
    ...at_least("size_bytes", "size_to", "<=", filter.size_at_most),
    ...at_least("created_at_ms", "created_after", ">", filter.created_after),
    ...at_least("created_at_ms", "created_before", "<", filter.created_before),
  ];
}

/** One page of artifacts; the index named after the sort within a construct; at most limit + 1 rows. */
export function artifactListSql(query: ArtifactQuery): { sql: string; parameters: Parameters } {
  const column = SORT_COLUMN[query.sort];
  const position = beyond(
    `a.${column}`,
    "a.pk",
    "SELECT pk FROM artifact WHERE id = $position_id",
    query.order,
    query.position,
  );
  const { sql, parameters } = where([...conditionsOf(query), ...position]);
  const order = query.order === "asc" ? "ASC" : "DESC";
  return {
    sql: `SELECT ${COLUMNS} FROM artifact a ${sql} ORDER BY a.${column} ${order}, a.pk ${order} LIMIT $limit`,
    parameters: { ...parameters, limit: query.limit + 1 },
  };
}

/** Whether a list may look at many rows to find few: then it is for a thread of its own. */
export function artifactListScans(query: ArtifactQuery): boolean {
  const {
    sort: _sort,
    order: _order,
    limit: _limit,
    position: _position,
    construct_id,
    session_id,
    ...others
  } = query;
  const given = Object.values(others).filter((value) => value !== undefined).length;
  return construct_id?.length !== 1 && session_id?.length !== 1
    ? given > 0 || query.sort !== "created"
    : given > 0;
}

export function artifactPage(rows: unknown[], query: ArtifactQuery): ListPage<ArtifactRow> {
  return pageOut((rows as Row[]).map(toArtifact), query.limit, (row) => row[SORT_COLUMN[query.sort]]);
}

export function artifactCountSql(filter: ArtifactFilter): { sql: string; parameters: Parameters } {
  const { sql, parameters } = where(conditionsOf(filter));
  return { sql: `SELECT count(*) AS total FROM artifact a ${sql}`, parameters };
}
