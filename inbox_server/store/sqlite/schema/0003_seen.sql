-- Step 3: by which a server that starts sees that the clock jumped, or how long nothing ran.

CREATE TABLE seen (
    time INTEGER PRIMARY KEY            -- the newest time that a server knew, to ten minutes; at most one row
) STRICT;
