-- What this store is. One row.
CREATE TABLE store (
  id            INTEGER PRIMARY KEY CHECK (id = 1),  -- there is one
  generation    TEXT    NOT NULL,                    -- UUID of this history; made anew by a restore
  created_at_ms INTEGER NOT NULL                     -- UTC, milliseconds
) STRICT;
