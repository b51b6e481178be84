-- Statements of `muniment audit verify`. Unqualified names: the connection's search path is the schema audit.

-- name: every_entry
SELECT entry.index, entry.data, entry.leaf_hash, entry.root_hash, head.root AS head_root, entry.event_id, entry.action,
       entry.outcome, entry.operator, entry.model, entry.resource, entry.correlation
FROM entry LEFT JOIN tree_head AS head ON head.size = entry.index + 1
ORDER BY entry.index

-- name: heads_beyond
SELECT size FROM tree_head WHERE size > (SELECT coalesce(max(index) + 1, 0) FROM entry) ORDER BY size LIMIT 1

-- name: has_keys
SELECT to_regclass('signing_key') IS NOT NULL

-- name: keys
SELECT vkey FROM signing_key ORDER BY ordinal

-- name: every_nodes
-- The kept nodes of each full tile, with the hashes below them: leaves of entries, or roots of the level below.
SELECT kept.level, kept.index, kept.nodes, above.root, CASE
    WHEN kept.level = 0 THEN (
        SELECT string_agg(leaf_hash, ''::bytea ORDER BY entry.index) FROM entry
        WHERE entry.index >= kept.index * 256 AND entry.index < (kept.index + 1) * 256
    )
    ELSE (
        SELECT string_agg(below.root, ''::bytea ORDER BY below.index) FROM tile_root AS below
        WHERE below.level = kept.level - 1 AND below.index >= kept.index * 256 AND below.index < (kept.index + 1) * 256
    )
END AS hashes
FROM tile_nodes AS kept LEFT JOIN tile_root AS above ON (above.level, above.index) = (kept.level, kept.index)
ORDER BY kept.level, kept.index
