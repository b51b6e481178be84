-- migrate:up
-- One row. Its lock orders batches of events and changes of subscriptions: whoever holds it sees everything committed
-- before, so `event_feed.seq` grows in the order of commits, and an event meets exactly the subscriptions before it.
CREATE TABLE feed_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    subscriptions_version bigint NOT NULL DEFAULT 0,
    pruned_through bigint NOT NULL DEFAULT 0
);
INSERT INTO feed_state DEFAULT VALUES;

CREATE TABLE event_feed (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key uuid NOT NULL UNIQUE,
    type text NOT NULL,
    model text,
    recorded_at timestamptz NOT NULL,
    body text NOT NULL
);
COMMENT ON COLUMN event_feed.key IS 'a hash of the event''s source and id';
COMMENT ON COLUMN event_feed.type IS 'the topic''s name';
COMMENT ON COLUMN event_feed.body IS 'the CloudEvent in structured JSON, as every channel gets it';

CREATE TABLE subscription (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    channel text NOT NULL,
    config jsonb NOT NULL,
    filter jsonb NOT NULL,
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'disabled', 'deleted')),
    reason text,
    owner text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    degraded_since timestamptz,
    degraded_reason text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX subscription_name ON subscription (lower(name)) WHERE state <> 'deleted';
CREATE INDEX subscription_newest ON subscription (created_at DESC, id DESC) WHERE state <> 'deleted';
COMMENT ON COLUMN subscription.degraded_since IS 'its last attempts failed or were slow: it gets one slot at a time';

-- Sealed (AES-256-GCM) under a key that is not in the database.
CREATE TABLE subscription_secret (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES subscription ON DELETE CASCADE,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE INDEX subscription_secret_owner ON subscription_secret (subscription_id);

-- The ledger: one row for each event and subscription that wants it, for ever the same id.
-- A lease moves `due_at` behind its own end and counts `lease_epoch` up: a worker that dies needs no cleaning up, and
-- one that wakes too late fails the comparison of the epoch.
CREATE TABLE delivery (
    id uuid PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES subscription,
    event_seq bigint NOT NULL REFERENCES event_feed,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    due_at timestamptz NOT NULL DEFAULT now(),
    lease_epoch integer NOT NULL DEFAULT 0,
    retry_from integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (event_seq, subscription_id)
);
CREATE INDEX delivery_due ON delivery (subscription_id, due_at) WHERE state = 'pending';
CREATE INDEX delivery_newest ON delivery (subscription_id, event_seq DESC);
CREATE INDEX delivery_dead ON delivery (subscription_id, event_seq DESC) WHERE state = 'dead';
COMMENT ON COLUMN delivery.retry_from IS 'the epoch at which the schedule began anew by a manual retry';

-- `number` is the lease epoch of the attempt; a missing one is an attempt whose process died.
CREATE TABLE attempt (
    delivery_id uuid NOT NULL REFERENCES delivery ON DELETE CASCADE,
    number integer NOT NULL,
    started_at timestamptz NOT NULL,
    status integer,
    latency_ms integer NOT NULL,
    error text,
    detail text,
    excerpt text,
    PRIMARY KEY (delivery_id, number)
);

-- migrate:down
DROP TABLE attempt;
DROP TABLE delivery;
DROP TABLE subscription_secret;
DROP TABLE subscription;
DROP TABLE event_feed;
DROP TABLE feed_state;
