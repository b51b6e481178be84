-- Statements of evidence packs. Unqualified names: the connection's search path is the schema audit.

-- name: first_at_or_after
SELECT index FROM entry WHERE log_time >= $1 ORDER BY log_time, index LIMIT 1

-- name: checkpoint_covering
-- The first that covers so many entries: always the same one, however far the log has grown since.
SELECT size, root, note FROM checkpoint WHERE size >= $1 ORDER BY size LIMIT 1

-- name: entries_of_model
SELECT index, data FROM entry
WHERE lower(model) = lower($1) AND index >= $2 AND index < $3
ORDER BY index
LIMIT $4

-- name: count_of_model
SELECT count(*) FROM (
    SELECT FROM entry WHERE lower(model) = lower($1) AND index >= $2 AND index < $3 LIMIT $4
) AS found

-- name: standing_before
-- How things stood: the last move of the baseline, and the last report of each place.
SELECT DISTINCT ON (place) index, data
FROM (
    SELECT index, data, CASE WHEN action = 'deployment.reported' THEN resource ELSE '' END AS place
    FROM entry
    WHERE lower(model) = lower($1) AND index < $2 AND outcome = 'done' AND action = ANY($3::text[])
) AS told
ORDER BY place, index DESC
LIMIT $4

-- name: moves_between
SELECT index, data FROM entry
WHERE lower(model) = lower($1) AND index >= $2 AND index < $3 AND outcome = 'done' AND action = ANY($4::text[])
ORDER BY index
LIMIT $5

-- name: commits_before
-- The entries that committed these versions, each named by a piece of its entry's canonical JSON.
SELECT index FROM entry
WHERE lower(model) = lower($1) AND index < $2 AND action = 'version.committed' AND outcome = 'done'
  AND EXISTS (SELECT FROM unnest($3::bytea[]) AS piece WHERE position(piece IN data) > 0)
ORDER BY index
LIMIT $4

-- name: entries_at
SELECT index, data FROM entry WHERE index = ANY($1::bigint[]) ORDER BY index

-- name: leaf_hashes
-- Of a range, in one value.
SELECT string_agg(leaf_hash, ''::bytea ORDER BY index) FROM entry WHERE index >= $1 AND index < $2
