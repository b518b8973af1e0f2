-- Step 10: by which a server sees that it must not use this database (inbox_server/store/migrating.py).

CREATE TABLE migration (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    mark  BLOB NOT NULL,                -- 16 random bytes, the same in both databases of a migration
    state TEXT NOT NULL CHECK (state IN ('source', 'target', 'left'))  -- is copied; is not whole yet; was copied away
) STRICT;
