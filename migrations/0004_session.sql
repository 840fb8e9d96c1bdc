-- One conversation of one agent.
CREATE TABLE session (
  pk                 INTEGER PRIMARY KEY,            -- inside this file only
  id                 TEXT    NOT NULL UNIQUE,        -- UUID, the name outside
  construct          INTEGER NOT NULL REFERENCES construct (pk), -- the work it belongs to
  parent             INTEGER REFERENCES session (pk), -- the session that started it (subagents)
  title              TEXT    NOT NULL,               -- one line
  agent              TEXT,                           -- which agent
  model              TEXT,                           -- which model
  status             TEXT    NOT NULL CHECK (status IN ('active', 'waiting', 'ended', 'error')), -- the present one
  status_since_at_ms INTEGER NOT NULL,               -- when the present status began
  external_id        TEXT,                           -- the agent's own name for the conversation
  working_directory  TEXT,                           -- where the agent ran
  branch             TEXT,                           -- branch it worked on
  started_at_ms      INTEGER NOT NULL,               -- by the agent's clock
  ended_at_ms        INTEGER,                        -- by the agent's clock
  create_digest      TEXT    NOT NULL,               -- SHA-256 of the creating body
  revision           INTEGER NOT NULL,               -- part of the ETag
  created_at_ms      INTEGER NOT NULL,               -- UTC, milliseconds
  updated_at_ms      INTEGER NOT NULL,               -- UTC, milliseconds
  deleted_at_ms      INTEGER                         -- when it was deleted; NULL while it lives
) STRICT;

CREATE INDEX session_by_construct ON session (construct, created_at_ms, pk);
CREATE INDEX session_by_parent    ON session (parent) WHERE parent IS NOT NULL;
CREATE INDEX session_by_external  ON session (external_id) WHERE external_id IS NOT NULL;
CREATE INDEX session_updated      ON session (updated_at_ms, pk) WHERE deleted_at_ms IS NULL;
CREATE INDEX session_created      ON session (created_at_ms, pk) WHERE deleted_at_ms IS NULL;

CREATE TABLE session_metadata (
  session INTEGER NOT NULL REFERENCES session (pk) ON DELETE CASCADE, -- whose fact
  key     TEXT    NOT NULL,                          -- name of the fact
  value   TEXT    NOT NULL,                          -- the fact, up to 1 KiB
  PRIMARY KEY (session, key)
) STRICT, WITHOUT ROWID;
