-- Step 9: tickets, by which an owner's contacts deliver without saying who they are.

CREATE TABLE sheet (
    number INTEGER PRIMARY KEY,         -- random, and another one whenever the sheet changes
    inbox  BLOB NOT NULL,               -- whose owner sent it
    week   INTEGER NOT NULL,            -- weeks since 1970
    fill   BLOB NOT NULL,               -- 4,096 zeros: the begin of a row may move to another page and leave a copy there,
                                        -- what comes after it does not (inbox_server/store/sqlite/sheets.py)
    ids    BLOB NOT NULL,               -- keyed hashes of the ids of tickets, 16 bytes each, sorted
    used   BLOB NOT NULL                -- for each of them 16 bytes: zeros, or the keyed hash of it and of what it was used for
) STRICT;

CREATE UNIQUE INDEX sheet_by_inbox ON sheet (inbox, week);
CREATE INDEX sheet_by_week ON sheet (week);
