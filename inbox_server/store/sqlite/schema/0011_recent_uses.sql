-- Step 11: which tickets were used lately, until that is written into their sheets.
-- A sheet has pages of its own, so each use would be one more page to write; here, all uses of a commit share one.

CREATE TABLE recent_use (
    page INTEGER PRIMARY KEY,           -- one that nothing is on is chosen at random, so its number says nothing about when
    body BLOB NOT NULL                  -- 3,900 bytes, a page of the file: 26 for each use, in an order that says nothing about
                                        -- when; then zeros (inbox_server/store/sqlite/recent_uses.py)
) STRICT;

WITH RECURSIVE number (page) AS (SELECT 1 UNION ALL SELECT page + 1 FROM number WHERE page < 32)
INSERT INTO recent_use (page, body) SELECT page, zeroblob(3900) FROM number;
