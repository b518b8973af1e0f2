-- Step 8: what the operator decides about single inboxes, and about the whole server.

-- unread entries that this inbox may hold, and their bytes; NULL: as many as the configuration says
ALTER TABLE inbox ADD COLUMN most_entries INTEGER;
ALTER TABLE inbox ADD COLUMN most_bytes INTEGER;

CREATE TABLE suspended (
    inbox BLOB PRIMARY KEY              -- an inbox to which nothing is delivered, or one that cannot be claimed
) STRICT, WITHOUT ROWID;

CREATE TABLE draining (
    one INTEGER PRIMARY KEY CHECK (one = 1)  -- a row when the server takes nothing new
) STRICT;
