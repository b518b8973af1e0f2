-- Step 7: the log of each inbox, by which its owner sees that nothing was taken away (inbox_server/inbox_log.py).

ALTER TABLE inbox ADD COLUMN log_n INTEGER NOT NULL DEFAULT 0;      -- number of the last entry; starts at a random number
ALTER TABLE inbox ADD COLUMN log_head BLOB NOT NULL DEFAULT x'';    -- hash of all entries so far, 32 bytes; starts random
ALTER TABLE inbox ADD COLUMN base_n INTEGER NOT NULL DEFAULT 0;     -- number of the entry that went last, or the first log_n
ALTER TABLE inbox ADD COLUMN base_head BLOB NOT NULL DEFAULT x'';   -- hash of all entries up to that one, 32 bytes
ALTER TABLE inbox ADD COLUMN restored INTEGER;                      -- UTC day on which a copy was last put back, or NULL

CREATE TABLE logged (
    inbox BLOB NOT NULL,
    n     INTEGER NOT NULL,             -- numbers follow on without a gap, from base_n + 1 to log_n
    id    BLOB NOT NULL,                -- SHA-256 of the opaque text, 32 bytes
    until INTEGER NOT NULL,             -- the end of a UTC day, after which the entry may go once all before it are gone
    PRIMARY KEY (inbox, n)
) STRICT, WITHOUT ROWID;

-- What is unread now and lives for days is logged, so that everything of that kind that is listed is in the log.
-- random_number, random_bytes and next_head are functions of this server (inbox_server/store/sqlite/database.py).
UPDATE inbox SET base_n = random_number(5), base_head = random_bytes(32);
INSERT INTO logged (inbox, n, id, until)
SELECT inbox, base_n + row_number() OVER (PARTITION BY inbox ORDER BY message.change), id, expires
FROM message JOIN inbox USING (inbox) WHERE slot IS NOT NULL AND expires % 86400 = 86399;
UPDATE inbox SET log_n = coalesce((SELECT max(n) FROM logged WHERE logged.inbox = inbox.inbox), base_n);
UPDATE inbox SET log_head = (
    WITH RECURSIVE chain (n, head) AS (
        SELECT inbox.base_n, inbox.base_head
        UNION ALL
        SELECT logged.n, next_head(head, logged.n, logged.id)
        FROM chain JOIN logged ON logged.inbox = inbox.inbox AND logged.n = chain.n + 1
    )
    SELECT head FROM chain WHERE n = inbox.log_n
);
