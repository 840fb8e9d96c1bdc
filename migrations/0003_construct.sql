-- One unit of agent work.
CREATE TABLE construct (
  pk                 INTEGER PRIMARY KEY,            -- inside this file only
  id                 TEXT    NOT NULL UNIQUE,        -- UUID, the name outside
  workspace          INTEGER NOT NULL REFERENCES workspace (pk), -- where it belongs
  title              TEXT    NOT NULL COLLATE NOCASE, -- one line
  brief              TEXT    NOT NULL,               -- what the work is about, Markdown
  type               TEXT    NOT NULL,               -- a short word of the user's
  status             TEXT    NOT NULL CHECK (status IN ('draft', 'provisioning', 'active', 'awaiting_input', 'reviewing',
                                                        'completed', 'parked', 'archived', 'error')), -- the present one
  status_since_at_ms INTEGER NOT NULL,               -- when the present status began
  agent              TEXT,                           -- the agent that works on it
  branch             TEXT,                           -- branch of the worktree
  worktree_path      TEXT,                           -- directory of the worktree
  pinned             INTEGER NOT NULL CHECK (pinned IN (0, 1)), -- spared by retention
  create_digest      TEXT    NOT NULL,               -- SHA-256 of the creating body
  revision           INTEGER NOT NULL,               -- the ETag
  created_at_ms      INTEGER NOT NULL,               -- UTC, milliseconds
  updated_at_ms      INTEGER NOT NULL,               -- UTC, milliseconds
  deleted_at_ms      INTEGER                         -- when it went to the trash; NULL while it lives
) STRICT;

-- Lists go along one of these; pk makes every order total.
CREATE INDEX construct_updated      ON construct (updated_at_ms, pk)      WHERE deleted_at_ms IS NULL;
CREATE INDEX construct_created      ON construct (created_at_ms, pk)      WHERE deleted_at_ms IS NULL;
CREATE INDEX construct_status_since ON construct (status_since_at_ms, pk) WHERE deleted_at_ms IS NULL;
CREATE INDEX construct_title        ON construct (title, pk)              WHERE deleted_at_ms IS NULL;
CREATE INDEX construct_by_workspace ON construct (workspace, updated_at_ms, pk);
CREATE INDEX construct_by_status    ON construct (status, updated_at_ms, pk) WHERE deleted_at_ms IS NULL;
CREATE INDEX construct_by_agent     ON construct (agent, updated_at_ms, pk)  WHERE deleted_at_ms IS NULL AND agent IS NOT NULL;
CREATE INDEX construct_by_branch    ON construct (branch, updated_at_ms, pk) WHERE deleted_at_ms IS NULL AND branch IS NOT NULL;
CREATE INDEX construct_by_type      ON construct (type, updated_at_ms, pk)   WHERE deleted_at_ms IS NULL;
CREATE INDEX construct_trash        ON construct (deleted_at_ms, pk)      WHERE deleted_at_ms IS NOT NULL;

CREATE TABLE construct_label (
  construct INTEGER NOT NULL REFERENCES construct (pk) ON DELETE CASCADE, -- what is labelled
  label     TEXT    NOT NULL,                        -- a word of the user's
  PRIMARY KEY (construct, label)
) STRICT, WITHOUT ROWID;
CREATE INDEX construct_label_by_label ON construct_label (label, construct);

CREATE TABLE construct_metadata (
  construct INTEGER NOT NULL REFERENCES construct (pk) ON DELETE CASCADE, -- whose fact
  key       TEXT    NOT NULL,                        -- name of the fact
  value     TEXT    NOT NULL,                        -- the fact, up to 1 KiB
  PRIMARY KEY (construct, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX construct_metadata_by_value ON construct_metadata (key, value, construct);

-- Every status that a construct had.
CREATE TABLE construct_status (
  construct   INTEGER NOT NULL REFERENCES construct (pk) ON DELETE CASCADE, -- whose status
  number      INTEGER NOT NULL,                      -- counts from 1
  status      TEXT    NOT NULL,                      -- as in construct
  from_at_ms  INTEGER NOT NULL,                      -- when it began
  until_at_ms INTEGER,                               -- when it ended; NULL for the present one
  actor       TEXT    NOT NULL,                      -- who set it
  reason      TEXT,                                  -- why, in the setter's words
  PRIMARY KEY (construct, number)
) STRICT, WITHOUT ROWID;
