-- migrate:up
-- Settings of topics that differ from what must hold, for as long as they do: so that each drift has one entry, over
-- restarts and whoever else looks.
CREATE TABLE topic_drift (
    topic text NOT NULL,
    setting text NOT NULL,
    expected text NOT NULL,
    actual text,                                                       -- null: there is no such topic
    since timestamptz NOT NULL,
    PRIMARY KEY (topic, setting)
);

-- migrate:down
DROP TABLE topic_drift;
