-- Where each transcript stands; changed with every append, so it holds nothing that can be derived.
CREATE TABLE session_head (
  session             INTEGER PRIMARY KEY REFERENCES session (pk), -- whose transcript
  last_seq            INTEGER NOT NULL,              -- number of the last entry; 0 before the first
  head                BLOB    NOT NULL,              -- running SHA-256 at last_seq
  sealed_through_seq  INTEGER NOT NULL,              -- entries up to here are in frames
  dropped_through_seq INTEGER NOT NULL,              -- entries up to here were dropped by retention
  dropped_head        BLOB                           -- running SHA-256 at dropped_through_seq; NULL while that is 0
) STRICT;

-- What was appended lately. A row whose seq is sealed is dead: frames win.
CREATE TABLE entry (
  id             INTEGER PRIMARY KEY,                -- grows with time; the oldest range is trimmed
  session        INTEGER NOT NULL REFERENCES session (pk), -- whose entry
  seq            INTEGER NOT NULL,                   -- counts from 1 without gaps
  kind           TEXT    NOT NULL,                   -- what it is
  actor          TEXT    NOT NULL,                   -- who made it
  at_ms          INTEGER NOT NULL,                   -- the entry's own time
  received_at_ms INTEGER NOT NULL,                   -- when it came here
  key            TEXT,                               -- the writer's name for it
  body           TEXT    NOT NULL,                   -- verbatim text of a JSON value, one line
  UNIQUE (session, seq)
) STRICT;

-- Older entries: one zstd frame of wire lines, each with its newline.
CREATE TABLE frame (
  session   INTEGER NOT NULL REFERENCES session (pk), -- whose entries
  first_seq INTEGER NOT NULL,                        -- number of the first line
  last_seq  INTEGER NOT NULL,                        -- number of the last line
  raw_bytes INTEGER NOT NULL,                        -- length when decompressed
  kinds     INTEGER NOT NULL,                        -- bit set of the kinds inside, by their place in schema/entry.ts
  head      BLOB    NOT NULL,                        -- running SHA-256 at last_seq
  data      BLOB    NOT NULL,                        -- the zstd frame
  PRIMARY KEY (session, first_seq)
) STRICT;

-- Keys of entries, for writers that name what they send.
CREATE TABLE entry_key (
  session INTEGER NOT NULL REFERENCES session (pk),  -- whose entry
  hash    INTEGER NOT NULL,                          -- first 8 bytes of the key's SHA-256: a candidate, checked against the entry
  seq     INTEGER NOT NULL,                          -- where the entry is
  PRIMARY KEY (session, hash, seq)
) STRICT, WITHOUT ROWID;
