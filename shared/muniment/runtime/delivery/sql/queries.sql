-- Statements of delivery. Unqualified names: the connection's search path is the service's schema.

-- name: claim_inbox
INSERT INTO inbox (key, digest)
SELECT * FROM unnest($1::uuid[], $2::bytea[])
ON CONFLICT (key) DO NOTHING
RETURNING key

-- name: known_inbox
SELECT key, digest FROM inbox WHERE key = ANY($1::uuid[])

-- name: insert_outbox
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, headers)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[])

-- name: notify_relay
SELECT pg_notify($1, '')

-- name: lead
SELECT pg_try_advisory_lock(hashtextextended($1, 0))

-- name: forgetful
SET synchronous_commit = off

-- name: unsent
SELECT seq, aggregatetype, aggregateid, payload, headers
FROM outbox
WHERE sent_at IS NULL
ORDER BY seq
LIMIT $1

-- name: mark_sent
UPDATE outbox SET sent_at = now() WHERE seq = ANY($1::bigint[])

-- name: backlog
SELECT count(*) AS rows, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s
FROM (SELECT created_at FROM outbox WHERE sent_at IS NULL ORDER BY seq LIMIT 10000) AS waiting

-- name: prune_outbox
-- Looks at the oldest rows alone: rows are sent in their order, so behind one that stays nothing is due.
DELETE FROM outbox WHERE seq IN (
    SELECT seq FROM (SELECT seq, sent_at FROM outbox ORDER BY seq LIMIT $2) AS oldest WHERE sent_at < $1
)

-- name: prune_inbox
DELETE FROM inbox WHERE key IN (
    SELECT key FROM inbox WHERE received_at < $1 ORDER BY received_at LIMIT $2
)

-- name: insert_dead_letter
INSERT INTO dead_letter
    (id, topic, partition, "offset", record_key, code, reason, value, value_sha256, value_size, headers, attempts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: list_dead_letters
SELECT id, topic, partition, "offset", record_key, code, reason, value_sha256, value_size, attempts, created_at,
       retried_at, retried_by
FROM dead_letter
WHERE ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
  AND ($3::boolean OR retried_at IS NULL)
ORDER BY created_at DESC, id DESC
LIMIT $4

-- name: get_dead_letter
SELECT id, topic, partition, "offset", record_key, code, reason, value, value_sha256, value_size, headers, attempts,
       created_at, retried_at, retried_by
FROM dead_letter
WHERE id = $1

-- name: mark_retried
UPDATE dead_letter SET retried_at = now(), retried_by = $2 WHERE id = $1 AND retried_at IS NULL RETURNING id
