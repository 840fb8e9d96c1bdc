/**
 * The release's migrations and two more that work hard: one that fills a table past a checkpoint, one that
 * rebuilds a table which others point at. What `workspace` holds is the same before and after.
 */
import { type Migration, MIGRATIONS } from "../../src/store/sqlite/migrations.ts";

/** Half a KiB a row, and as much for the index. */
const fill = (rows: number): string => `
CREATE TABLE ballast (pk INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
INSERT INTO ballast (text)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
  SELECT printf('%d %.*c', i, 500, 'x') FROM n;
CREATE INDEX ballast_by_text ON ballast (text);
`;

const REBUILD = `
CREATE TABLE new_workspace (
  pk            INTEGER PRIMARY KEY,
  id            TEXT    NOT NULL UNIQUE,
  name          TEXT    NOT NULL COLLATE NOCASE UNIQUE,
  description   TEXT    NOT NULL,
  repository    TEXT,
  path          TEXT,
  create_digest TEXT    NOT NULL,
  revision      INTEGER NOT NULL,
  created_at_ms INTEGER NOT NULL,
  updated_at_ms INTEGER NOT NULL,
  colour        TEXT    NOT NULL DEFAULT 'grey'
) STRICT;
INSERT INTO new_workspace
  SELECT pk, id, name, description, repository, path, create_digest, revision, created_at_ms, updated_at_ms, 'blue' FROM workspace;
DROP TABLE workspace;
ALTER TABLE new_workspace RENAME TO workspace;
`;

/** With 3,000 rows a checkpoint falls into the last migration. */
export function longMigrations(ballast_rows: number): readonly Migration[] {
  return [
    ...MIGRATIONS,
    { version: MIGRATIONS.length + 1, name: "ballast", sql: fill(ballast_rows) },
    { version: MIGRATIONS.length + 2, name: "colour", sql: REBUILD },
  ];
}
