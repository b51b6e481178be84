-- Statements of what keeps the published log: ends of locks, how many checkpoints there are, how late the newest is.

-- name: try_round
SELECT pg_try_advisory_lock(hashtextextended('muniment tile keeper of ' || current_schema(), 0))

-- name: end_round
SELECT pg_advisory_unlock(hashtextextended('muniment tile keeper of ' || current_schema(), 0))

-- name: round
SELECT next_index, soonest, last_soonest, finished_at FROM tile_round

-- name: move_round
UPDATE tile_round SET next_index = $1, soonest = $2

-- name: finish_round
UPDATE tile_round SET next_index = 0, soonest = NULL, last_soonest = soonest, finished_at = $1

-- name: published_size
SELECT coalesce(max(size), 0) FROM checkpoint

-- name: newest_kept
-- The oldest of the $1 newest checkpoints; null where there are not so many.
SELECT size FROM checkpoint ORDER BY size DESC OFFSET $1 - 1 LIMIT 1

-- name: older_checkpoints
SELECT size, published_at FROM checkpoint WHERE size > $1 AND size < $2 ORDER BY size LIMIT $3

-- name: drop_checkpoints
DELETE FROM checkpoint WHERE size = ANY($1::bigint[])

-- name: waits_since
-- When the first entries that no checkpoint covers were appended; null where there are none.
SELECT created_at, clock_timestamp() AS now
FROM tree_head WHERE size > (SELECT coalesce(max(size), 0) FROM checkpoint)
ORDER BY size LIMIT 1
