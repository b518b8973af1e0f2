-- Step 7: the log of each inbox, by which its owner sees that nothing was taken away (inbox_server/inbox_log.py).

ALTER TABLE inbox ADD COLUMN log_n INTEGER NOT NULL DEFAULT 0;      -- number of the last entry; starts at a random number
ALTER TABLE inbox ADD COLUMN log_head BLOB NOT NULL DEFAULT x'';    -- hash of all entries so far, 32 bytes; starts random
ALTER TABLE inbox ADD COLUMN log_until INTEGER NOT NULL DEFAULT 0;  -- the latest `until` of the log's marks
ALTER TABLE inbox ADD COLUMN base_n INTEGER NOT NULL DEFAULT 0;     -- number of the entry that went last, or the first log_n
ALTER TABLE inbox ADD COLUMN base_head BLOB NOT NULL DEFAULT x'';   -- hash of all entries up to that one, 32 bytes
ALTER TABLE inbox ADD COLUMN restored INTEGER;                      -- UTC day on which a copy was last put back, or NULL

-- The entries from base_n + 1 to log_n, without a gap: each has its number in its row, or here once that row is gone. An
-- index by number, or a row here from the start, would be one more page for a delivery to write.
ALTER TABLE message ADD COLUMN n INTEGER;                           -- its number in the log; NULL when it is not logged
CREATE TABLE logged (
    inbox BLOB NOT NULL,
    n     INTEGER NOT NULL,
    id    BLOB NOT NULL,                -- SHA-256 of the opaque text, 32 bytes
    PRIMARY KEY (inbox, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_mark (
    inbox BLOB NOT NULL,
    n     INTEGER NOT NULL,             -- entries from this number to the next mark's ...
    until INTEGER NOT NULL,             -- ... may go when this end of a UTC day is over
    PRIMARY KEY (inbox, n)
) STRICT, WITHOUT ROWID;

-- What is unread now and lives for days is logged, so that everything of that kind that is listed is in the log.
-- random_number, random_bytes and next_head are functions of this server (inbox_server/store/sqlite/database.py).
UPDATE inbox SET base_n = random_number(5), base_head = random_bytes(32);
UPDATE message SET n = number FROM (
    SELECT inbox AS of, message.change AS at, base_n + row_number() OVER (PARTITION BY inbox ORDER BY message.change) AS number
    FROM message JOIN inbox USING (inbox) WHERE slot IS NOT NULL AND expires % 86400 = 86399
) WHERE inbox = of AND change = at;
CREATE INDEX message_by_n ON message (inbox, n);  -- for the next statements only
UPDATE inbox SET log_n = coalesce((SELECT max(n) FROM message WHERE message.inbox = inbox.inbox), base_n);
UPDATE inbox SET log_head = (
    WITH RECURSIVE chain (n, head) AS (
        SELECT inbox.base_n, inbox.base_head
        UNION ALL
        SELECT message.n, next_head(head, message.n, message.id)
        FROM chain JOIN message ON message.inbox = inbox.inbox AND message.n = chain.n + 1
    )
    SELECT head FROM chain WHERE n = inbox.log_n
);
INSERT INTO log_mark (inbox, n, until) SELECT inbox, min(n), max(expires) FROM message WHERE n IS NOT NULL GROUP BY inbox;
UPDATE inbox SET log_until = until FROM log_mark WHERE log_mark.inbox = inbox.inbox;
DROP INDEX message_by_n;
