-- A project that agents work on, usually a repository.
CREATE TABLE workspace (
  pk            INTEGER PRIMARY KEY,                 -- inside this file only
  id            TEXT    NOT NULL UNIQUE,             -- UUID, the name outside
  name          TEXT    NOT NULL COLLATE NOCASE UNIQUE, -- what people call it
  description   TEXT    NOT NULL,                    -- Markdown, may be empty
  repository    TEXT,                                -- where the code lives
  path          TEXT,                                -- directory on the machine that works on it
  create_digest TEXT    NOT NULL,                    -- SHA-256 of the creating body: tells a repeat from a conflict
  revision      INTEGER NOT NULL,                    -- grows by one with each change; the ETag
  created_at_ms INTEGER NOT NULL,                    -- UTC, milliseconds
  updated_at_ms INTEGER NOT NULL                     -- UTC, milliseconds
) STRICT;

CREATE TABLE workspace_metadata (
  workspace INTEGER NOT NULL REFERENCES workspace (pk) ON DELETE CASCADE, -- whose fact
  key       TEXT    NOT NULL,                        -- name of the fact
  value     TEXT    NOT NULL,                        -- the fact, up to 1 KiB
  PRIMARY KEY (workspace, key)
) STRICT, WITHOUT ROWID;

-- The workspace that every store has.
INSERT INTO workspace (id, name, description, create_digest, revision, created_at_ms, updated_at_ms)
VALUES ('00000000-0000-7000-8000-000000000001', 'default', '', '', 1,
        CAST(unixepoch('subsec') * 1000 AS INTEGER), CAST(unixepoch('subsec') * 1000 AS INTEGER));
