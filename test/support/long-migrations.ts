/**
 * The release's migrations and two more that work hard: one that fills a table past a checkpoint, one that rebuilds
 * a table which others point at. What `workspace` holds is the same before and after.
 */
import { type Migration, MIGRATIONS } from "../../src/store/sqlite/migrations.ts";

/** About 1.5 MiB, so that a checkpoint falls into what follows. */
const FILL = `
CREATE TABLE ballast (pk INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
INSERT INTO ballast (text)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
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

export const LONG_MIGRATIONS: readonly Migration[] = [
  ...MIGRATIONS,
  { version: MIGRATIONS.length + 1, name: "ballast", sql: FILL },
  { version: MIGRATIONS.length + 2, name: "colour", sql: REBUILD },
];
