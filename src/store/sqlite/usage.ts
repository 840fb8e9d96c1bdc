/** How much is stored, of everything, of a workspace or of a construct. Sums over many rows: for a thread of its own. */
import type { UsageScope } from "../contract.ts";
import type { Parameters } from "./statement.ts";

const CONSTRUCTS = {
  all: "SELECT pk FROM construct",
  workspace: "SELECT pk FROM construct WHERE workspace = (SELECT pk FROM workspace WHERE id = $id)",
  construct: "SELECT pk FROM construct WHERE id = $id",
};

function within(
  scope: UsageScope,
  sql: (constructs: string) => string,
): { sql: string; parameters: Parameters } {
  if ("construct_id" in scope)
    return { sql: sql(CONSTRUCTS.construct), parameters: { id: scope.construct_id } };
  if ("workspace_id" in scope)
    return { sql: sql(CONSTRUCTS.workspace), parameters: { id: scope.workspace_id } };
  return { sql: sql(CONSTRUCTS.all), parameters: {} };
}

/** Entries that are rows; those that are sealed take room until they are trimmed and are counted with their frames. */
export const rowUsageSql = (scope: UsageScope) =>
  within(
    scope,
    (constructs) => `SELECT coalesce(sum(e.seq > h.sealed_through_seq), 0) AS items_count,
      coalesce(sum(CASE WHEN e.seq > h.sealed_through_seq THEN octet_length(e.body) END), 0) AS logical_bytes,
      coalesce(sum(octet_length(e.body)), 0) AS stored_bytes
      FROM session s JOIN session_head h ON h.session = s.pk JOIN entry e ON e.session = s.pk WHERE s.construct IN (${constructs})`,
  );

/** Entries that are sealed. */
export const frameUsageSql = (scope: UsageScope) =>
  within(
    scope,
    (
      constructs,
    ) => `SELECT coalesce(sum(f.last_seq - f.first_seq + 1), 0) AS items_count, coalesce(sum(f.raw_bytes), 0) AS logical_bytes,
      coalesce(sum(octet_length(f.data)), 0) AS stored_bytes
      FROM session s JOIN frame f ON f.session = s.pk WHERE s.construct IN (${constructs})`,
  );

/** Artifacts that are not deleted, by type. */
export const artifactUsageSql = (scope: UsageScope) =>
  within(
    scope,
    (constructs) => `SELECT type, count(*) AS items_count, sum(size_bytes) AS logical_bytes
      FROM artifact WHERE deleted_at_ms IS NULL AND construct IN (${constructs}) GROUP BY type ORDER BY type`,
  );

/** Constructs that have or had artifacts: those with a folder. */
export const artifactFoldersSql = (scope: UsageScope) =>
  within(
    scope,
    (constructs) =>
      `SELECT c.id FROM construct c WHERE c.pk IN (${constructs}) AND EXISTS (SELECT 1 FROM artifact a WHERE a.construct = c.pk)`,
  );
