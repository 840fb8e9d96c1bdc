-- A named file that belongs to a construct. Its bytes lie beside the database, named by their digest; how they are
-- encoded is a property of the file that is found.
CREATE TABLE artifact (
  pk            INTEGER PRIMARY KEY,                 -- inside this file only
  id            TEXT    NOT NULL UNIQUE,             -- UUID, the name outside
  construct     INTEGER NOT NULL REFERENCES construct (pk), -- the work it belongs to
  session       INTEGER REFERENCES session (pk),     -- the session that made it, if one did
  entry_seq     INTEGER CHECK (entry_seq IS NULL OR session IS NOT NULL), -- its entry there; no reference, because entries are trimmed
  type          TEXT    NOT NULL,                    -- a short word: diff, log, report, image
  name          TEXT    NOT NULL,                    -- file name as given; data, never a path
  media_type    TEXT    NOT NULL,                    -- as the uploader says
  state         TEXT    NOT NULL CHECK (state IN ('open', 'sealed')), -- open ones grow
  sha256        TEXT    CHECK ((sha256 IS NULL) = (state = 'open')), -- of the decoded bytes, hexadecimal
  size_bytes    INTEGER NOT NULL,                    -- decoded; of an open one the file knows
  create_digest TEXT    NOT NULL,                    -- SHA-256 of what made it
  revision      INTEGER NOT NULL,                    -- part of the ETag
  created_at_ms INTEGER NOT NULL,                    -- UTC, milliseconds
  updated_at_ms INTEGER NOT NULL,                    -- UTC, milliseconds
  deleted_at_ms INTEGER                              -- when it was deleted; its file goes after a grace period
) STRICT;

CREATE INDEX artifact_by_construct ON artifact (construct, created_at_ms, pk) WHERE deleted_at_ms IS NULL;
CREATE INDEX artifact_by_name      ON artifact (construct, name, pk) WHERE deleted_at_ms IS NULL;
CREATE INDEX artifact_by_size      ON artifact (construct, size_bytes, pk) WHERE deleted_at_ms IS NULL;
CREATE INDEX artifact_by_type      ON artifact (construct, type, created_at_ms, pk) WHERE deleted_at_ms IS NULL;
CREATE INDEX artifact_by_session   ON artifact (session, created_at_ms, pk) WHERE session IS NOT NULL;
CREATE INDEX artifact_by_blob      ON artifact (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX artifact_created      ON artifact (created_at_ms, pk) WHERE deleted_at_ms IS NULL;
CREATE INDEX artifact_deleted      ON artifact (deleted_at_ms) WHERE deleted_at_ms IS NOT NULL;

CREATE TABLE artifact_metadata (
  artifact INTEGER NOT NULL REFERENCES artifact (pk) ON DELETE CASCADE, -- whose fact
  key      TEXT    NOT NULL,                         -- name of the fact
  value    TEXT    NOT NULL,                         -- the fact, up to 1 KiB
  PRIMARY KEY (artifact, key)
) STRICT, WITHOUT ROWID;
