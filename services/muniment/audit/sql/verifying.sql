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
