-- Statements of the notifier. Unqualified names: the connection's search path is the service's schema.

-- events ------------------------------------------------------------------------------------------------------------

-- name: active_filters
SELECT id, filter, timing, expires_at FROM subscription WHERE state = 'active' ORDER BY created_at, id

-- name: insert_events
-- Takes the feed's lock before it numbers a row, and tells the version of the set of subscriptions that holds under it.
WITH feed AS (
    SELECT subscriptions_version FROM feed_state FOR UPDATE
), made AS (
    INSERT INTO event_feed (key, type, model, recorded_at, body)
    SELECT e.key, e.type, e.model, $5, e.body
    FROM feed
    CROSS JOIN unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
        WITH ORDINALITY AS e (key, type, model, body, position)
    ORDER BY e.position
    ON CONFLICT (key) DO NOTHING
    RETURNING key, seq
)
SELECT feed.subscriptions_version, made.key, made.seq FROM feed LEFT JOIN made ON true ORDER BY made.seq

-- name: announce
-- A batch in one statement: the feed's lock, the inbox, the events in their order, their deliveries, and the leases of
-- those that are wanted at once ($14), which are returned. Nothing is done unless the set of subscriptions is the one ($1)
-- that the deliveries were made for: all that writes comes from `feed`.
WITH feed AS (
    SELECT subscriptions_version FROM feed_state FOR UPDATE
), claimed AS (
    INSERT INTO inbox (key, digest)
    SELECT i.key, i.digest
    FROM feed CROSS JOIN unnest($5::uuid[], $6::bytea[]) AS i (key, digest)
    WHERE feed.subscriptions_version = $1
    ON CONFLICT (key) DO NOTHING
    RETURNING key
), made AS (
    INSERT INTO event_feed (key, type, model, recorded_at, body)
    SELECT e.key, e.type, e.model, $2, e.body
    FROM claimed
    JOIN unnest($4::uuid[], $5::uuid[], $7::text[], $8::text[], $9::text[])
        WITH ORDINALITY AS e (key, inbox_key, type, model, body, position) ON e.inbox_key = claimed.key
    ORDER BY e.position
    ON CONFLICT (key) DO NOTHING
    RETURNING key, seq
), delivered AS (
    INSERT INTO delivery (id, subscription_id, event_seq, state, due_at, lease_epoch)
    SELECT d.id, d.subscription_id, made.seq,
           CASE WHEN d.gathered_until IS NULL THEN 'pending' ELSE 'gathered' END,
           CASE WHEN held THEN now() + $3 * interval '1 second' ELSE coalesce(d.gathered_until, now()) END,
           held::int
    FROM made
    JOIN unnest($10::uuid[], $11::uuid[], $12::uuid[], $13::timestamptz[], $14::boolean[])
        AS d (id, subscription_id, event_key, gathered_until, leased) ON d.event_key = made.key
    JOIN subscription s ON s.id = d.subscription_id
    CROSS JOIN LATERAL (SELECT d.leased AND s.degraded_since IS NULL AS held) AS l
    ON CONFLICT DO NOTHING
    RETURNING id, subscription_id, event_seq, lease_epoch, retry_from
)
SELECT feed.subscriptions_version, ARRAY(SELECT key FROM claimed) AS claimed, j.*
FROM feed
LEFT JOIN (
    SELECT d.id, d.subscription_id, made.key AS event_key, d.lease_epoch, d.lease_epoch - d.retry_from AS tries,
        false AS is_digest, s.channel, s.config, s.timing, false AS degraded,
        ARRAY(
            SELECT sealed FROM subscription_secret x
            WHERE x.subscription_id = s.id AND (x.expires_at IS NULL OR x.expires_at > now())
            ORDER BY x.id DESC LIMIT 2
        ) AS secrets
    FROM delivered d
    JOIN made ON made.seq = d.event_seq
    JOIN subscription s ON s.id = d.subscription_id
    WHERE d.lease_epoch = 1
) AS j ON true

-- name: insert_deliveries
INSERT INTO delivery (id, subscription_id, event_seq, state, due_at)
SELECT d.id, d.subscription_id, d.event_seq,
       CASE WHEN d.gathered_until IS NULL THEN 'pending' ELSE 'gathered' END, coalesce(d.gathered_until, now())
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[])
    AS d (id, subscription_id, event_seq, gathered_until)
ON CONFLICT DO NOTHING

-- name: lock_damped
SELECT d.* FROM damped d
JOIN unnest($1::uuid[], $2::text[]) AS w (subscription_id, key) USING (subscription_id, key)

-- name: put_damped
INSERT INTO damped (subscription_id, key, until, held)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::boolean[])
ON CONFLICT (subscription_id, key) DO UPDATE SET until = excluded.until, held = excluded.held

-- deliveries --------------------------------------------------------------------------------------------------------

-- name: due_lanes
-- Goes from one subscription that has something pending to the next, by the index of what is pending: those that have
-- nothing, which are nearly all of many thousands, cost nothing, and a backlog costs one look.
WITH RECURSIVE waiting AS (
    (SELECT subscription_id, due_at FROM delivery WHERE state = 'pending' ORDER BY subscription_id, due_at LIMIT 1)
    UNION ALL
    SELECT further.*
    FROM waiting w
    CROSS JOIN LATERAL (
        SELECT subscription_id, due_at FROM delivery
        WHERE state = 'pending' AND subscription_id > w.subscription_id
        ORDER BY subscription_id, due_at LIMIT 1
    ) AS further
), lane AS (
    SELECT subscription_id AS id, due_at FROM waiting WHERE due_at < now() + $1 * interval '1 second'
    UNION ALL
    SELECT s.id, NULL FROM subscription s WHERE s.degraded_since IS NOT NULL
)
SELECT s.id, s.degraded_since IS NOT NULL AS degraded, s.failing_since IS NOT NULL AS failing,
       CASE WHEN min(l.due_at) IS NOT NULL
            THEN greatest(extract(epoch FROM min(l.due_at) - now()), 0)::float8 END AS due_in_s
FROM lane l
JOIN subscription s USING (id)
WHERE s.state = 'active' AND (s.expires_at IS NULL OR s.expires_at > now())
GROUP BY s.id

-- name: lease
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::int[]) AS w (subscription_id, count)
), taken AS (
    SELECT d.id
    FROM wanted w
    JOIN subscription s ON s.id = w.subscription_id AND s.state = 'active'
        AND (s.expires_at IS NULL OR s.expires_at > now())
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
RETURNING d.id, d.subscription_id, d.lease_epoch, d.lease_epoch - d.retry_from AS tries,
    coalesce(d.body, e.body) AS body, d.body IS NOT NULL AS is_digest, s.channel, s.config, s.timing,
    s.degraded_since IS NOT NULL AS degraded,
    ARRAY(
        SELECT sealed FROM subscription_secret x
        WHERE x.subscription_id = s.id AND (x.expires_at IS NULL OR x.expires_at > now())
        ORDER BY x.id DESC LIMIT 2
    ) AS secrets

-- name: renew
-- What was settled a moment ago and is due later than a lease keeps its time.
-- What is being settled at this moment is passed over: two statements that lock rows in their own orders would wait for
-- each other in a circle.
WITH held AS (
    SELECT d.id FROM delivery d
    JOIN unnest($1::uuid[], $2::int[]) AS v (id, epoch) ON d.id = v.id AND d.lease_epoch = v.epoch
    WHERE d.state NOT IN ('gathered', 'delivered', 'dead') AND d.due_at < now() + $3 * interval '1 second'
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE delivery d SET due_at = now() + $3 * interval '1 second' FROM held h WHERE d.id = h.id

-- name: settle
-- Attempts and what follows from them, in one statement, so that most batches are no more than one round trip.
-- Rows are found by their ids. Were the state asked for as the index of what is pending has it, that index would look
-- cheaper where little is pending in a large ledger, and be read whole, with all that has just left it.
-- They are locked before either part touches them: an attempt must not fail because its delivery is pruned meanwhile.
WITH v AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::text[], $4::float8[],
        $5::timestamptz[], $6::int[], $7::int[], $8::text[], $9::text[], $10::text[], $11::text[]
    ) AS v (id, epoch, state, delay_s, started_at, status, latency_ms, error, detail, excerpt, request_sha256)
), held AS MATERIALIZED (
    SELECT d.id, o.epoch
    FROM (SELECT id, epoch FROM v ORDER BY id) o
    CROSS JOIN LATERAL (SELECT id FROM delivery WHERE id = o.id FOR NO KEY UPDATE) d
), tried AS (
    INSERT INTO attempt (delivery_id, number, started_at, status, latency_ms, error, detail, excerpt, request_sha256)
    SELECT h.id, v.epoch, v.started_at, v.status, v.latency_ms, v.error, v.detail, v.excerpt, v.request_sha256
    FROM held h JOIN v ON v.id = h.id AND v.epoch = h.epoch
    ON CONFLICT DO NOTHING
)
UPDATE delivery d
SET state = v.state,
    due_at = CASE WHEN v.state = 'pending' THEN now() + v.delay_s * interval '1 second' ELSE d.due_at END,
    finished_at = CASE WHEN v.state = 'pending' THEN NULL ELSE now() END
FROM held h JOIN v ON v.id = h.id AND v.epoch = h.epoch
WHERE d.id = h.id AND d.lease_epoch = v.epoch AND d.state NOT IN ('gathered', 'delivered', 'dead')
RETURNING d.id

-- name: postpone
UPDATE delivery SET due_at = $3, retry_from = retry_from + 1
WHERE id = $1 AND lease_epoch = $2 AND state = 'pending'

-- name: settle_gathered
-- What a digest told of has arrived, or died, with it.
UPDATE delivery m
SET state = d.state, finished_at = now()
FROM delivery d
WHERE d.id = ANY ($1::uuid[]) AND d.state <> 'pending' AND m.digest_id = d.id
    AND (m.state = 'gathered' OR m.state = 'dead' AND d.state = 'delivered')

-- name: set_health
WITH seen AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::boolean[]) AS h (id, trouble, failed)
), before AS (
    SELECT s.id, h.trouble, s.failing_since,
           CASE WHEN h.failed THEN coalesce(s.failed_since, now()) END AS failed_since
    FROM subscription s JOIN seen h ON h.id = s.id
    WHERE s.degraded_reason IS DISTINCT FROM h.trouble
        OR CASE WHEN h.failed
            THEN s.failing_since IS NULL AND (s.failed_since IS NULL OR now() - s.failed_since >= $4 * interval '1 second')
            ELSE s.failed_since IS NOT NULL
        END
    ORDER BY s.id
    FOR NO KEY UPDATE OF s
)
UPDATE subscription s
SET degraded_since = CASE WHEN b.trouble IS NULL THEN NULL ELSE coalesce(s.degraded_since, now()) END,
    degraded_reason = b.trouble,
    failed_since = b.failed_since, -- of a failure, when the first of this row of failures was
    failing_since = CASE
        WHEN b.failed_since IS NULL THEN NULL
        WHEN now() - b.failed_since >= $4 * interval '1 second' THEN coalesce(s.failing_since, now())
        ELSE s.failing_since
    END
FROM before b
WHERE s.id = b.id
RETURNING s.id, s.name, b.trouble, b.failing_since AS failing_before, s.failing_since, s.state

-- name: list_deliveries
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, d.digest_id, e.model,
       CASE WHEN d.body IS NULL THEN e.type ELSE 'digest' END AS type
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR (d.event_seq, d.id) < ($2, $3::uuid))
ORDER BY d.event_seq DESC, d.id DESC
LIMIT $4

-- name: list_delivered
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, d.digest_id, e.model,
       CASE WHEN d.body IS NULL THEN e.type ELSE 'digest' END AS type
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR (d.event_seq, d.id) < ($2, $3::uuid)) AND d.state = 'delivered'
ORDER BY d.event_seq DESC, d.id DESC
LIMIT $4

-- name: list_dead
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, d.digest_id, e.model,
       CASE WHEN d.body IS NULL THEN e.type ELSE 'digest' END AS type
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR (d.event_seq, d.id) < ($2, $3::uuid)) AND d.state = 'dead'
ORDER BY d.event_seq DESC, d.id DESC
LIMIT $4

-- name: list_pending
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, d.digest_id, e.model,
       CASE WHEN d.body IS NULL THEN e.type ELSE 'digest' END AS type
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR (d.event_seq, d.id) < ($2, $3::uuid)) AND d.state = 'pending'
ORDER BY d.event_seq DESC, d.id DESC
LIMIT $4

-- name: list_gathered
SELECT d.id, d.event_seq, d.state, d.due_at, d.created_at, d.finished_at, d.digest_id, e.model,
       CASE WHEN d.body IS NULL THEN e.type ELSE 'digest' END AS type
FROM delivery d JOIN event_feed e ON e.seq = d.event_seq
WHERE d.subscription_id = $1 AND ($2::bigint IS NULL OR (d.event_seq, d.id) < ($2, $3::uuid)) AND d.state = 'gathered'
ORDER BY d.event_seq DESC, d.id DESC
LIMIT $4

-- name: attempts_of
SELECT a.*
FROM unnest($1::uuid[]) AS d (id)
CROSS JOIN LATERAL (
    SELECT * FROM attempt WHERE delivery_id = d.id ORDER BY number DESC LIMIT $2
) AS a
ORDER BY a.delivery_id, a.number

-- name: lock_delivery
SELECT d.id, d.subscription_id, d.state,
       CASE WHEN s.expires_at <= now() THEN 'expired' ELSE s.state END AS subscription_state
FROM delivery d JOIN subscription s ON s.id = d.subscription_id
WHERE d.id = $1 AND s.state <> 'deleted'
FOR UPDATE OF d

-- name: retry_delivery
UPDATE delivery SET state = 'pending', due_at = now(), finished_at = NULL, digest_id = NULL, retry_from = lease_epoch
WHERE id = $1

-- name: replay_known
-- Deliveries that are there already: dead ones begin anew, and, where it is forced, those that have arrived.
UPDATE delivery
SET state = CASE WHEN $3::timestamptz IS NULL THEN 'pending' ELSE 'gathered' END, due_at = coalesce($3, now()),
    finished_at = NULL, digest_id = NULL, retry_from = lease_epoch
WHERE id = ANY ($1::uuid[]) AND (state = 'dead' OR $2::boolean AND state = 'delivered')

-- digests -----------------------------------------------------------------------------------------------------------

-- name: due_digests
-- As due_lanes: from one subscription that has something gathered to the next.
WITH RECURSIVE gathered AS (
    (
        SELECT subscription_id, due_at FROM delivery WHERE state = 'gathered' AND digest_id IS NULL
        ORDER BY subscription_id, due_at LIMIT 1
    )
    UNION ALL
    SELECT further.*
    FROM gathered g
    CROSS JOIN LATERAL (
        SELECT subscription_id, due_at FROM delivery
        WHERE state = 'gathered' AND digest_id IS NULL AND subscription_id > g.subscription_id
        ORDER BY subscription_id, due_at LIMIT 1
    ) AS further
)
SELECT s.id
FROM gathered g
JOIN subscription s ON s.id = g.subscription_id
WHERE g.due_at <= now() AND s.state = 'active' AND (s.expires_at IS NULL OR s.expires_at > now())
ORDER BY random() -- so that none that cannot be made stands before the others
LIMIT $1

-- name: lock_for_digest
SELECT * FROM subscription WHERE id = $1 AND state = 'active' FOR NO KEY UPDATE SKIP LOCKED

-- name: gathered
SELECT d.id, d.event_seq, d.due_at, e.type, e.model,
       CASE WHEN row_number() OVER (ORDER BY d.event_seq DESC) <= $3 AND octet_length(e.body) <= $4 THEN e.body END AS body
FROM (
    SELECT id, event_seq, due_at FROM delivery
    WHERE subscription_id = $1 AND state = 'gathered' AND digest_id IS NULL AND due_at <= now()
    ORDER BY due_at, event_seq LIMIT $2
) AS d JOIN event_feed e ON e.seq = d.event_seq
ORDER BY d.event_seq

-- name: insert_digest
INSERT INTO delivery (id, subscription_id, event_seq, body) VALUES ($1, $2, $3, $4)

-- name: join_digest
UPDATE delivery SET digest_id = $1 WHERE id = ANY ($2::uuid[])

-- name: close_gathered
UPDATE delivery SET due_at = now()
WHERE subscription_id = $1 AND state = 'gathered' AND digest_id IS NULL AND due_at > now()

-- subscriptions -----------------------------------------------------------------------------------------------------

-- name: bump_subscriptions
UPDATE feed_state SET subscriptions_version = subscriptions_version + 1 RETURNING subscriptions_version

-- name: count_subscriptions
SELECT count(*) FROM subscription WHERE state <> 'deleted'

-- name: insert_subscription
INSERT INTO subscription (id, name, channel, config, filter, owner, created_at, updated_at, timing, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, $9)
ON CONFLICT DO NOTHING
RETURNING *

-- name: get_subscription
SELECT * FROM subscription WHERE id = $1 AND state <> 'deleted'

-- name: lock_subscription
SELECT * FROM subscription WHERE id = $1 AND state <> 'deleted' FOR NO KEY UPDATE

-- name: hold_subscription
SELECT * FROM subscription WHERE id = $1 AND state <> 'deleted' FOR SHARE

-- name: any_expired
SELECT EXISTS (SELECT FROM subscription WHERE state IN ('active', 'paused') AND expires_at <= $1)

-- name: expire_subscriptions
UPDATE subscription
SET state = 'expired', reason = 'its time is over', version = version + 1, updated_at = $1
WHERE state IN ('active', 'paused') AND expires_at <= $1
RETURNING *

-- name: list_subscriptions
SELECT * FROM subscription
WHERE state <> 'deleted' AND ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
ORDER BY created_at DESC, id DESC
LIMIT $3

-- name: update_subscription
UPDATE subscription
SET name = $2, config = $3, filter = $4, state = $5, reason = $6, version = version + 1, updated_at = $7,
    timing = $8, expires_at = $9, owner = $10
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

-- name: seq_before
-- The last event before a moment, found by halving: events lie in the order of their moments, give or take a batch.
WITH RECURSIVE search (low, high) AS (
    SELECT min(seq), max(seq) + 1 FROM event_feed
    UNION ALL
    SELECT CASE WHEN late THEN low ELSE middle + 1 END, CASE WHEN late THEN middle ELSE high END
    FROM search
    CROSS JOIN LATERAL (SELECT (low + high) / 2 AS middle) AS m
    CROSS JOIN LATERAL (
        SELECT recorded_at >= $1 AS late FROM event_feed WHERE seq >= middle ORDER BY seq LIMIT 1
    ) AS probe
    WHERE low < high
)
SELECT coalesce((SELECT low - 1 FROM search WHERE low >= high), (SELECT pruned_through FROM feed_state)) AS before,
       (SELECT pruned_through FROM feed_state) AS pruned_through,
       (SELECT min(recorded_at) FROM (SELECT recorded_at FROM event_feed ORDER BY seq LIMIT 1) AS oldest) AS kept_since

-- name: pruned_through
SELECT pruned_through FROM feed_state

-- name: look_back
WITH scanned AS MATERIALIZED (
    SELECT seq, type, model FROM event_feed WHERE seq > $1 ORDER BY seq LIMIT $2
), wanted AS (
    SELECT seq FROM scanned
    WHERE ($3::text[] IS NULL OR type = ANY ($3)) AND ($4::text IS NULL OR lower(model) LIKE $4)
    ORDER BY seq LIMIT $5
), sized AS (
    SELECT seq, key, body, sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before
    FROM wanted JOIN event_feed USING (seq)
)
SELECT seq, key, body, (SELECT max(seq) FROM scanned) AS scanned_through,
       (SELECT count(*) FROM scanned) AS scanned_rows, (SELECT count(*) FROM wanted) AS wanted_rows
FROM (SELECT) AS one LEFT JOIN sized ON before < $6
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
    SELECT id FROM delivery WHERE event_seq < $1 AND state IN ('pending', 'gathered')
    ORDER BY event_seq LIMIT $2 FOR UPDATE SKIP LOCKED
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

-- name: prune_damped
DELETE FROM damped WHERE until < now() - interval '2 days'

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
