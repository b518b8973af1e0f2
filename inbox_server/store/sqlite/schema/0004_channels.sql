-- Step 4: where owners are told that something waits, by any channel.

CREATE TABLE subscription (
    inbox   BLOB NOT NULL,              -- whose owner subscribed
    channel TEXT NOT NULL,              -- the channel's name in the protocol, such as 'push'
    id      BLOB NOT NULL,              -- keyed hash of the inbox and the address, 16 bytes
    sealed  BLOB NOT NULL,              -- the address and its keys, encrypted under the secret; one size for each channel
    PRIMARY KEY (inbox, channel, id)
) STRICT, WITHOUT ROWID;

INSERT INTO subscription (inbox, channel, id, sealed) SELECT inbox, 'push', id, sealed FROM push;
DROP TABLE push;

-- the channels, with spaces between, of which a subscription was dropped, until the owner next changes those of the channel
ALTER TABLE inbox ADD COLUMN gone TEXT NOT NULL DEFAULT '';
UPDATE inbox SET gone = 'push' WHERE push_gone;
ALTER TABLE inbox DROP COLUMN push_gone;
