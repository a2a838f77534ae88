-- The tables of a subscriber. Each statement can be repeated.
CREATE TABLE IF NOT EXISTS messages (
    channel_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    status     TEXT NOT NULL,    -- the highest of failed < delivered < read
    status_at  TEXT NOT NULL,    -- received_at of the report with this status
    reports    INTEGER NOT NULL, -- the number of different reports
    PRIMARY KEY (channel_id, message_id)
);
CREATE TABLE IF NOT EXISTS seen (
    event_id TEXT PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS dead_letters (
    topic     TEXT NOT NULL,
    partition INTEGER NOT NULL,
    offset    INTEGER NOT NULL,
    reason    TEXT NOT NULL,
    key       BLOB,
    value     BLOB,
    PRIMARY KEY (topic, partition, offset)
);
