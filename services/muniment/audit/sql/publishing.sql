-- Statements of what is published of the log: checkpoints, tiles, keys. The connection's search path is the schema.

-- name: limit_silence
SELECT set_config('idle_session_timeout', $1, false)

-- name: try_turn
SELECT pg_try_advisory_lock(hashtextextended('muniment publisher of ' || current_schema(), 0))

-- name: end_turn
SELECT pg_advisory_unlock(hashtextextended('muniment publisher of ' || current_schema(), 0))

-- name: head_size
SELECT max(size) FROM tree_head

-- name: newest_checkpoint
-- With the lines that its witnesses have added, which end its note for readers.
SELECT size, root, note, published_at, (
    SELECT coalesce(string_agg(line, '' ORDER BY witness), '') FROM cosignature WHERE cosignature.size = newest.size
) AS cosignatures
FROM (SELECT * FROM checkpoint ORDER BY size DESC LIMIT 1) AS newest

-- name: entries_between
SELECT index, leaf_hash, root_hash, data FROM entry WHERE index >= $1 AND index < $2 ORDER BY index

-- name: root_at
SELECT root_hash FROM entry WHERE index = $1 - 1

-- name: roots_at
SELECT index + 1 AS size, root_hash FROM entry WHERE index = ANY($1::bigint[])

-- name: tile_contents
-- Of each tile (level, first hash, end) in one value: of a full one all nodes below its root, null where they are not
-- kept; of an open one its hashes.
SELECT CASE
    WHEN stop - first = 256 THEN (
        SELECT nodes FROM tile_nodes WHERE tile_nodes.level = wanted.level AND index = first / 256
    )
    WHEN level = 0 THEN (
        SELECT string_agg(leaf_hash, ''::bytea ORDER BY index) FROM entry WHERE index >= first AND index < stop
    )
    ELSE (
        SELECT string_agg(root, ''::bytea ORDER BY index) FROM tile_root
        WHERE tile_root.level = wanted.level - 1 AND index >= first AND index < stop
    )
END
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS wanted (level, first, stop, place)
ORDER BY place

-- name: tile_hashes
-- The hashes of each tile in one value.
SELECT CASE
    WHEN level = 0 THEN (
        SELECT string_agg(leaf_hash, ''::bytea ORDER BY index) FROM entry WHERE index >= first AND index < stop
    )
    ELSE (
        SELECT string_agg(root, ''::bytea ORDER BY index) FROM tile_root
        WHERE tile_root.level = wanted.level - 1 AND index >= first AND index < stop
    )
END
FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS wanted (level, first, stop, place)
ORDER BY place

-- name: newest_with_entry
SELECT newest.size, newest.root, newest.note, entry.data, (
    SELECT coalesce(string_agg(line, '' ORDER BY witness), '') FROM cosignature WHERE cosignature.size = newest.size
) AS cosignatures
FROM (SELECT size, root, note FROM checkpoint ORDER BY size DESC LIMIT 1) AS newest
LEFT JOIN entry ON entry.index = $1

-- name: tile_roots
SELECT root FROM tile_root WHERE level = $1 AND index >= $2 AND index < $3 ORDER BY index

-- name: insert_tile_roots
INSERT INTO tile_root (level, index, root) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])

-- name: insert_tile_nodes
INSERT INTO tile_nodes (level, index, nodes) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])

-- name: insert_checkpoint
INSERT INTO checkpoint (size, root, note) VALUES ($1, $2, $3)

-- name: index_of_event
SELECT index FROM entry WHERE event_id = $1

-- name: origin
SELECT origin FROM log_identity

-- name: insert_origin
INSERT INTO log_identity (origin) VALUES ($1) ON CONFLICT DO NOTHING

-- name: signing_keys
SELECT ordinal, vkey, added_at, predecessors_until FROM signing_key ORDER BY ordinal

-- name: lock_signing_keys
SELECT pg_advisory_xact_lock(hashtextextended('muniment signing keys of ' || current_schema(), 0))

-- name: insert_signing_key
INSERT INTO signing_key (ordinal, vkey, added_at, predecessors_until) VALUES ($1, $2, $3, $4)
