-- The activity timeline, in commit order. Ids and not references: an event outlives what it tells of.
CREATE TABLE event (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,    -- commit order, never used again
  id           TEXT    NOT NULL UNIQUE,              -- UUID, the name outside
  type         TEXT    NOT NULL,                     -- noun.what_happened
  at_ms        INTEGER NOT NULL,                     -- UTC, milliseconds
  actor        TEXT    NOT NULL,                     -- who did it
  workspace_id TEXT    NOT NULL,                     -- where
  construct_id TEXT,                                 -- of which construct, if of one
  session_id   TEXT,                                 -- of which session, if of one
  data         TEXT    NOT NULL                      -- flat JSON object: facts of the change
) STRICT;
CREATE INDEX event_by_construct ON event (construct_id, seq) WHERE construct_id IS NOT NULL;
CREATE INDEX event_by_workspace ON event (workspace_id, seq);
