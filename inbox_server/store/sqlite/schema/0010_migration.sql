-- Step 10: whether a server may use this database, or it is part of a migration.

CREATE TABLE migration (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    mark  BLOB NOT NULL,                -- 16 random bytes, the same in both databases of a migration
    state TEXT NOT NULL CHECK (state IN ('source', 'left', 'target', 'whole'))  -- inbox_server/store/migrating.py
) STRICT;
