-- Step 4: seeing that a copy was put back, after which every inbox needs a new generation (restored.py).

-- It names the transaction that wrote its row, and the table of inboxes as it was then. A dump that is put back writes
-- the row in another transaction, and makes another table.
CREATE TABLE home (
    one     integer PRIMARY KEY CHECK (one = 1),
    written bigint NOT NULL,             -- as `xmin` has it, without the epoch
    inboxes bigint NOT NULL,             -- the oid of `inbox`
    marked  bytea                        -- the last inbox that `after-restore` has marked, until it has marked them all
);

INSERT INTO home (one, written, inboxes)
    VALUES (1, pg_current_xact_id()::text::bigint % 4294967296, 'inbox'::regclass::oid::bigint);

-- As in step 1, for the columns of bytes that came since.
ALTER TABLE home ALTER marked SET STATISTICS 0;
ALTER TABLE cluster ALTER id SET STATISTICS 0;
ALTER TABLE shard ALTER cluster SET STATISTICS 0, ALTER target SET STATISTICS 0;
ALTER TABLE invite ALTER inbox SET STATISTICS 0;
