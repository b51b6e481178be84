-- Statements of signatures. Unqualified names: the search path is the schema `registry`.

-- name: insert_signatures
INSERT INTO version_signature (model_id, number, path, status, method, signer, code, uncovered, judged_at)
SELECT *, $9::timestamptz
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[])

-- name: newest
-- The newest outcome of a version's signature.
SELECT status, method, signer, code, uncovered, path, judged_at
FROM version_signature WHERE model_id = $1 AND number = $2
ORDER BY judged_at DESC LIMIT 1
