-- Statements of the audit service. Unqualified names: the connection's search path is its schema.

-- name: prepare_session
SELECT set_config('lock_timeout', $1, false), set_config('idle_session_timeout', $2, false)

-- name: wait_for_turn
SELECT pg_advisory_lock(hashtextextended('muniment writer of ' || current_schema(), 0))

-- name: take_epoch
UPDATE writer SET epoch = epoch + 1, holder = $1, taken_at = clock_timestamp() RETURNING epoch

-- name: writer
SELECT epoch, holder FROM writer

-- name: lock_writer
SELECT epoch, holder, set_config('idle_in_transaction_session_timeout', $1, true) FROM writer FOR UPDATE

-- name: head
SELECT size, root FROM tree_head ORDER BY size DESC LIMIT 1

-- name: head_to_extend
SELECT head.size, head.root, head.frontier, head.log_time, last.root_hash AS last_root
FROM tree_head AS head LEFT JOIN entry AS last ON last.index = head.size - 1
ORDER BY head.size DESC
LIMIT 1

-- name: head_covering
SELECT size, root FROM tree_head WHERE size > $1 ORDER BY size LIMIT 1

-- name: known_event_ids
SELECT event_id FROM entry WHERE event_id = ANY($1::text[])

-- name: insert_entries
INSERT INTO entry (index, event_id, leaf_hash, root_hash, data, log_time, action, outcome, operator, model, resource,
                   correlation)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::timestamptz[], $7::text[],
                     $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])

-- name: insert_head
INSERT INTO tree_head (size, previous, root, frontier, log_time, writer_epoch) VALUES ($1, $2, $3, $4, $5, $6)

-- name: get_entry
SELECT index, leaf_hash, root_hash, data FROM entry WHERE index = $1

-- name: exact_plans
SET LOCAL plan_cache_mode = force_custom_plan

-- name: first_at_or_after
SELECT index FROM entry WHERE log_time >= $1 ORDER BY log_time, index LIMIT 1

-- name: list_oldest_first
SELECT index, leaf_hash, root_hash, data
FROM entry
WHERE index >= $1 AND index < $2
  AND ($3::text IS NULL OR lower(model) = lower($3))
  AND ($4::text IS NULL OR action = $4)
  AND ($5::text IS NULL OR operator = $5)
  AND ($6::text IS NULL OR (left(resource, 256) = left($6, 256) AND resource = $6))
  AND ($7::text IS NULL OR (left(correlation, 256) = left($7, 256) AND correlation = $7))
  AND ($8::text IS NULL OR outcome = $8)
ORDER BY index
LIMIT $9

-- name: list_newest_first
SELECT index, leaf_hash, root_hash, data
FROM entry
WHERE index >= $1 AND index < $2
  AND ($3::text IS NULL OR lower(model) = lower($3))
  AND ($4::text IS NULL OR action = $4)
  AND ($5::text IS NULL OR operator = $5)
  AND ($6::text IS NULL OR (left(resource, 256) = left($6, 256) AND resource = $6))
  AND ($7::text IS NULL OR (left(correlation, 256) = left($7, 256) AND correlation = $7))
  AND ($8::text IS NULL OR outcome = $8)
ORDER BY index DESC
LIMIT $9
