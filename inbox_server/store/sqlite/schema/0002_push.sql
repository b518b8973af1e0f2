-- Step 2: where browsers are told that something waits.

CREATE TABLE push (
    inbox  BLOB NOT NULL,               -- whose owner subscribed
    id     BLOB NOT NULL,               -- keyed hash of the inbox and the endpoint, 16 bytes
    sealed BLOB NOT NULL,               -- the endpoint and its keys, encrypted under the secret; always of one size
    PRIMARY KEY (inbox, id)
) STRICT, WITHOUT ROWID;

-- 1 when a push service said that a subscription is gone, until the owner next changes subscriptions
ALTER TABLE inbox ADD COLUMN push_gone INTEGER NOT NULL DEFAULT 0;
