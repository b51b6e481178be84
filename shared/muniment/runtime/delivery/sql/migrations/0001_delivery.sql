-- migrate:up
-- Every service has these tables in its own schema, so that they commit together with its state.

-- A row means: this event has had its effect. `key` is a 128-bit hash of (source, id); `digest` tells whether the
-- same id came again with other content.
CREATE TABLE inbox (
    key uuid PRIMARY KEY,
    digest bytea NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);

-- Column names follow Debezium's outbox event router.
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    payload bytea NOT NULL,
    headers text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz
);
CREATE INDEX outbox_unsent ON outbox (seq) WHERE sent_at IS NULL;

CREATE TABLE dead_letter (
    id uuid PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    record_key bytea,
    code text NOT NULL,
    reason text NOT NULL,
    value bytea NOT NULL,
    value_sha256 text NOT NULL,
    value_size bigint NOT NULL,
    headers text NOT NULL,
    attempts integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retried_at timestamptz,
    retried_by text
);
CREATE INDEX dead_letter_newest ON dead_letter (created_at DESC, id DESC);

-- migrate:down
DROP TABLE dead_letter;
DROP TABLE outbox;
DROP TABLE inbox;
