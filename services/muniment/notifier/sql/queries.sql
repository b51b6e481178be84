-- Statements of the notifier. Unqualified names: the connection's search path is the service's schema.

-- events ------------------------------------------------------------------------------------------------------------

-- name: lock_feed
SELECT subscriptions_version FROM feed_state FOR UPDATE

-- name: active_filters
SELECT id, filter FROM subscription WHERE state = 'active' ORDER BY created_at, id

-- name: insert_events
INSERT INTO event_feed (key, type, model, recorded_at, body)
SELECT key, type, model, $5, body
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS e (key, type, model, body, position)
ORDER BY position
ON CONFLICT (key) DO NOTHING
RETURNING key, seq

-- name: insert_deliveries
INSERT INTO delivery (id, subscription_id, event_seq)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[])
ON CONFLICT DO NOTHING

-- deliveries --------------------------------------------------------------------------------------------------------

-- name: due_lanes
SELECT s.id, s.degraded_since IS NOT NULL AS degraded,
       CASE WHEN d.due_at < now() + $1 * interval '1 second'
            THEN greatest(extract(epoch FROM d.due_at - now()), 0)::float8 END AS due_in_s
FROM subscription s
LEFT JOIN LATERAL (
    SELECT due_at FROM delivery WHERE subscription_id = s.id AND state = 'pending' ORDER BY due_at LIMIT 1
) AS d ON true
WHERE s.state = 'active' AND (s.degraded_since IS NOT NULL OR d.due_at < now() + $1 * interval '1 second')

-- name: lease
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::int[]) AS w (subscription_id, count)
), taken AS (
    SELECT d.id
    FROM wanted w
    JOIN subscription s ON s.id = w.subscription_id AND s.state = 'active'
    CROSS JOIN LATERAL (
        SELECT id FROM delivery
        WHERE subscription_id = w.subscription_id AND state = 'pending' AND due_at <= now()
        ORDER BY due_at
        LIMIT CASE WHEN s.degraded_since IS NULL THEN w.count ELSE 1 END
        FOR UPDATE SKIP LOCKED
    ) AS d
)
UPDATE delivery d
SET due_at = now() + $3 * interval '1 second', lease_epoch = d.lease_epoch + 1
FROM taken t, subscription s, event_feed e
WHERE d.id = t.id AND s.id = d.subscription_id AND e.seq = d.event_seq
RETURNING d.id, d.subscription_id, d.lease_epoch, d.lease_epoch - d.retry_from AS tries, e.body, s.channel, s.config,
    s.degraded_since IS NOT NULL AS degraded,
    ARRAY(
        SELECT sealed FROM subscription_secret x
        WHERE x.subscription_id = s.id AND (x.expires_at IS NULL OR x.expires_at > now())
        ORDER BY x.id DESC LIMIT 2
    ) AS secrets

-- name: renew
-- What was settled a moment ago and is due later than a lease keeps its time.
UPDATE delivery d
SET due_at = now() + $3 * interval '1 second'
FROM unnest($1::uuid[], $2::int[]) AS v (id, epoch)
WHERE d.id = v.id AND d.lease_epoch = v.epoch AND d.state = 'pending' AND d.due_at < now() + $3 * interval '1 second'

-- name: insert_attempts
INSERT INTO attempt (delivery_id, number, started_at, status, latency_ms, error, detail, excerpt)
SELECT a.*
FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::int[], $5::int[], $6::text[], $7::text[], $8::text[])
    AS a (delivery_id, number, started_at, status, latency_ms, error, detail, excerpt)
JOIN delivery d ON d.id = a.delivery_id
FOR KEY SHARE OF d
ON CONFLICT DO NOTHING

-- name: settle
UPDATE delivery d
SET state = v.state,
    due_at = CASE WHEN v.state = 'pending' THEN now() + v.delay_s * interval '1 second' ELSE d.due_at END,
    finished_at = CASE WHEN v.state = 'pending' THEN NULL ELSE now() END
FROM unnest($1::uuid[], $2::int[], $3::text[], $4::float8[]) AS v (id, epoch, state, delay_s)
WHERE d.id = v.id AND d.lease_epoch = v.epoch AND d.state = 'pending'
RETURNING d.id

-- name: set_health
UPDATE subscription s
SET degraded_since = CASE WHEN h.trouble IS NULL THEN NULL ELSE coalesce(s.degraded_since, now()) END,
    degraded_reason = h.trouble
FROM unnest($1::uuid[], $2::text[]) AS h (id, trouble)
WHERE s.id = h.id AND s.degraded_reason IS DISTINCT FROM h.trouble

-- name: list_deliveries
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, e.type, e.model
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR d.event_seq < $2)
ORDER BY d.event_seq DESC
LIMIT $3

-- name: list_delivered
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, e.type, e.model
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR d.event_seq < $2) AND d.state = 'delivered'
ORDER BY d.event_seq DESC
LIMIT $3

-- name: list_dead
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, e.type, e.model
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR d.event_seq < $2) AND d.state = 'dead'
ORDER BY d.event_seq DESC
LIMIT $3

-- name: list_pending
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, e.type, e.model
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR d.event_seq < $2) AND d.state = 'pending'
ORDER BY d.event_seq DESC
LIMIT $3

-- name: attempts_of
SELECT a.*
FROM unnest($1::uuid[]) AS d (id)
CROSS JOIN LATERAL (
    SELECT * FROM attempt WHERE delivery_id = d.id ORDER BY number DESC LIMIT $2
) AS a
ORDER BY a.delivery_id, a.number

-- name: lock_delivery
SELECT d.id, d.subscription_id, d.state, s.state AS subscription_state
FROM delivery d JOIN subscription s ON s.id = d.subscription_id
WHERE d.id = $1 AND s.state <> 'deleted'
FOR UPDATE OF d

-- name: retry_delivery
UPDATE delivery SET state = 'pending', due_at = now(), finished_at = NULL, retry_from = lease_epoch WHERE id = $1

-- subscriptions -----------------------------------------------------------------------------------------------------

-- name: bump_subscriptions
UPDATE feed_state SET subscriptions_version = subscriptions_version + 1

-- name: count_subscriptions
SELECT count(*) FROM subscription WHERE state <> 'deleted'

-- name: insert_subscription
INSERT INTO subscription (id, name, channel, config, filter, owner, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
ON CONFLICT DO NOTHING
RETURNING *

-- name: get_subscription
SELECT * FROM subscription WHERE id = $1 AND state <> 'deleted'

-- name: lock_subscription
SELECT * FROM subscription WHERE id = $1 AND state <> 'deleted' FOR NO KEY UPDATE

-- name: list_subscriptions
SELECT * FROM subscription
WHERE state <> 'deleted' AND ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
ORDER BY created_at DESC, id DESC
LIMIT $3

-- name: update_subscription
UPDATE subscription
SET name = $2, config = $3, filter = $4, state = $5, reason = $6, version = version + 1, updated_at = $7
WHERE id = $1
RETURNING *

-- name: delete_subscription
UPDATE subscription
SET state = 'deleted', config = '{}', reason = NULL, version = version + 1, updated_at = $2
WHERE id = $1

-- name: disable_subscription
UPDATE subscription
SET state = 'disabled', reason = $2, version = version + 1, updated_at = $3
WHERE id = $1 AND state = 'active'
RETURNING *

-- name: insert_secret
INSERT INTO subscription_secret (subscription_id, sealed, created_at, public_key) VALUES ($1, $2, $3, $4)

-- name: public_keys
SELECT subscription_id, public_key FROM subscription_secret
WHERE subscription_id = ANY ($1::uuid[]) AND public_key IS NOT NULL AND (expires_at IS NULL OR expires_at > now())
ORDER BY id DESC

-- name: delete_secrets
DELETE FROM subscription_secret WHERE subscription_id = $1

-- name: expire_secrets
WITH newest AS (SELECT max(id) AS id FROM subscription_secret WHERE subscription_id = $1), gone AS (
    DELETE FROM subscription_secret WHERE subscription_id = $1 AND id < (SELECT id FROM newest)
)
UPDATE subscription_secret SET expires_at = $2 WHERE id = (SELECT id FROM newest)

-- name: live_secrets
SELECT sealed FROM subscription_secret
WHERE subscription_id = $1 AND (expires_at IS NULL OR expires_at > now())
ORDER BY id DESC
LIMIT 2

-- feed --------------------------------------------------------------------------------------------------------------

-- name: feed_head
SELECT greatest((SELECT max(seq) FROM event_feed), pruned_through) AS head FROM feed_state

-- name: scan_feed
WITH bounds AS (
    SELECT pruned_through, coalesce((SELECT max(seq) FROM event_feed), 0) AS last FROM feed_state
), scanned AS MATERIALIZED (
    SELECT seq, type, model FROM event_feed
    WHERE seq > greatest($1, (SELECT pruned_through FROM bounds)) ORDER BY seq LIMIT $2
), wanted AS (
    SELECT seq FROM scanned
    WHERE ($3::text IS NULL OR type = $3) AND ($4::text IS NULL OR lower(model) LIKE $4)
    ORDER BY seq LIMIT $5
), sized AS (
    SELECT seq, body, sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before
    FROM wanted JOIN event_feed USING (seq)
)
SELECT seq, body, pruned_through, greatest(last, pruned_through) AS head,
       (SELECT max(seq) FROM scanned) AS scanned_through,
       (SELECT count(*) FROM scanned) AS scanned_rows, (SELECT count(*) FROM wanted) AS wanted_rows
FROM bounds LEFT JOIN sized ON before < $6
ORDER BY seq

-- pruning -----------------------------------------------------------------------------------------------------------

-- name: boundary
SELECT coalesce(
    (SELECT seq FROM event_feed WHERE recorded_at >= $1 ORDER BY seq LIMIT 1),
    (SELECT max(seq) + 1 FROM event_feed),
    0
)

-- name: expire_deliveries
WITH old AS (
    SELECT id FROM delivery WHERE event_seq < $1 AND state = 'pending' ORDER BY event_seq LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE delivery SET state = 'dead', finished_at = now(), lease_epoch = lease_epoch + 1 WHERE id IN (SELECT id FROM old)

-- name: prune_deliveries
DELETE FROM delivery WHERE id IN (
    SELECT id FROM delivery WHERE event_seq < $1 AND state = $2 ORDER BY event_seq LIMIT $3
)

-- name: prune_deleted_deliveries
DELETE FROM delivery WHERE id IN (
    SELECT d.id FROM subscription s JOIN delivery d ON d.subscription_id = s.id WHERE s.state = 'deleted' LIMIT $1
)

-- name: prune_subscriptions
DELETE FROM subscription s
WHERE s.state = 'deleted' AND NOT EXISTS (SELECT FROM delivery d WHERE d.subscription_id = s.id)

-- name: prune_secrets
DELETE FROM subscription_secret WHERE expires_at < now()

-- name: prune_events
WITH gone AS (
    DELETE FROM event_feed WHERE seq IN (
        SELECT e.seq FROM event_feed e
        WHERE e.seq < $1 AND NOT EXISTS (SELECT FROM delivery d WHERE d.event_seq = e.seq)
        ORDER BY e.seq LIMIT $2
    )
    RETURNING seq
)
SELECT max(seq) AS through, count(*) AS rows FROM gone HAVING count(*) > 0

-- name: mark_pruned
UPDATE feed_state SET pruned_through = greatest(pruned_through, $1)
