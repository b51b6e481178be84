-- Statements of a model's history as a graph. Unqualified names: the search path is the schema `registry`.

-- name: graph_nodes
-- Light rows of all versions up to a number, oldest first; the manifest's length comes without its bytes.
SELECT v.number, v.id, v.branch, v.previous_number, v.operator, v.committed_at, octet_length(v.manifest) AS size,
       t.number IS NOT NULL AS deleted
FROM version v LEFT JOIN tombstone t ON (t.model_id, t.number) = (v.model_id, v.number)
WHERE v.model_id = $1 AND v.number <= $2
ORDER BY v.number
LIMIT $3

-- name: graph_page
SELECT v.number, v.id, v.branch, v.previous_number, v.operator, v.committed_at, 0 AS size,
       t.number IS NOT NULL AS deleted
FROM version v LEFT JOIN tombstone t ON (t.model_id, t.number) = (v.model_id, v.number)
WHERE v.model_id = $1 AND v.number < $2
ORDER BY v.number DESC
LIMIT $3

-- name: graph_parents
-- The named parents of versions of a model, between two numbers.
SELECT p.number, p.kind, p.parent_id, v.model_id AS parent_model_id, v.number AS parent_number, m.name AS parent_model
FROM version_parent p
JOIN version v ON v.id = p.parent_id JOIN model m ON m.id = v.model_id
WHERE p.model_id = $1 AND p.number BETWEEN $2 AND $3
ORDER BY p.number, v.number DESC, p.parent_id
LIMIT $4

-- name: graph_ids
SELECT number, id FROM version WHERE model_id = $1 AND number = ANY($2::bigint[])

-- name: manifests
SELECT number, manifest FROM version WHERE model_id = $1 AND number = ANY($2::bigint[]) ORDER BY number DESC

-- name: safetensors_files
SELECT f.number, f.path, o.sha256, o.size, o.bucket, o.key, o.version_id
FROM version_file f JOIN stored_object o ON o.id = f.object_id
WHERE f.model_id = $1 AND f.number = ANY($2::bigint[]) AND f.format = 'safetensors'
ORDER BY f.number, f.path

-- name: known_tensors
SELECT sha256, name, digest FROM tensor_digest WHERE sha256 = ANY($1::text[])

-- name: keep_tensors
INSERT INTO tensor_digest (sha256, name, digest)
SELECT $1, * FROM unnest($2::text[], $3::bytea[])
ON CONFLICT DO NOTHING
