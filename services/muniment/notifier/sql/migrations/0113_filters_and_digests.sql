-- migrate:up
ALTER TABLE subscription
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN timing jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN failed_since timestamptz,
    ADD COLUMN failing_since timestamptz,
    DROP CONSTRAINT subscription_state_check,
    ADD CONSTRAINT subscription_state_check
        CHECK (state IN ('active', 'paused', 'disabled', 'expired', 'deleted'));
COMMENT ON COLUMN subscription.failed_since IS 'the first failed attempt after the last that arrived';
COMMENT ON COLUMN subscription.failing_since IS 'it has failed for so long that people were told';
CREATE INDEX subscription_expiry ON subscription (expires_at) WHERE state IN ('active', 'paused');

-- What is gathered has its row as everything has; the digest that tells of it is a delivery of its own, with a body of
-- its own, at the place of the last event in it. An event and a subscription still have one delivery, for ever: its id
-- is made from both. That they are unique together is now no more to be had from an index, since a digest is beside it.
ALTER TABLE delivery
    ADD COLUMN body text,
    ADD COLUMN digest_id uuid,
    DROP CONSTRAINT delivery_state_check,
    ADD CONSTRAINT delivery_state_check CHECK (state IN ('gathered', 'pending', 'delivered', 'dead')),
    DROP CONSTRAINT delivery_event_seq_subscription_id_key;
CREATE INDEX delivery_event ON delivery (event_seq, subscription_id);
CREATE INDEX delivery_gathered ON delivery (subscription_id, due_at) WHERE state = 'gathered' AND digest_id IS NULL;
CREATE INDEX delivery_digest ON delivery (digest_id) WHERE digest_id IS NOT NULL;
COMMENT ON COLUMN delivery.body IS 'of a digest: the CloudEvent that is sent, instead of an event of the feed';
COMMENT ON COLUMN delivery.digest_id IS 'the digest that tells of it';

ALTER TABLE attempt ADD COLUMN request_sha256 text;
COMMENT ON COLUMN attempt.request_sha256 IS 'of the body that was sent';

-- Alerts that were told a moment ago: the next of the same key are gathered.
CREATE TABLE damped (
    subscription_id uuid NOT NULL REFERENCES subscription ON DELETE CASCADE,
    key text NOT NULL,
    until timestamptz NOT NULL,
    held boolean NOT NULL,
    PRIMARY KEY (subscription_id, key)
);
COMMENT ON COLUMN damped.held IS 'something is told at the end of the window, which opens the next one';

-- migrate:down
DROP TABLE damped;
ALTER TABLE attempt DROP COLUMN request_sha256;
DELETE FROM delivery WHERE body IS NOT NULL;
UPDATE delivery SET state = 'pending', due_at = now() WHERE state = 'gathered';
DROP INDEX delivery_digest;
DROP INDEX delivery_gathered;
DROP INDEX delivery_event;
ALTER TABLE delivery
    DROP COLUMN body,
    DROP COLUMN digest_id,
    DROP CONSTRAINT delivery_state_check,
    ADD CONSTRAINT delivery_state_check CHECK (state IN ('pending', 'delivered', 'dead')),
    ADD CONSTRAINT delivery_event_seq_subscription_id_key UNIQUE (event_seq, subscription_id);
UPDATE subscription SET state = 'disabled', reason = 'it had expired' WHERE state = 'expired';
DROP INDEX subscription_expiry;
ALTER TABLE subscription
    DROP COLUMN expires_at,
    DROP COLUMN timing,
    DROP COLUMN failed_since,
    DROP COLUMN failing_since,
    DROP CONSTRAINT subscription_state_check,
    ADD CONSTRAINT subscription_state_check CHECK (state IN ('active', 'paused', 'disabled', 'deleted'));
