-- Statements of reproductions. Unqualified names: the search path is the schema `registry`.

-- name: originals
-- The versions that runs repeated, with the tolerances of their models' contracts.
SELECT v.id, v.manifest, c.revision, c.tolerances
FROM version v LEFT JOIN contract c ON c.model_id = v.model_id
WHERE v.id = ANY($1::text[])

-- name: insert_reproduction
-- A version is judged once: the same manifest, published again, is the same version.
INSERT INTO reproduction (model_id, number, of_id, outcome, judged_by, differences, judged_at)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7)
ON CONFLICT (model_id, number) DO NOTHING
RETURNING number

-- name: reproduces
-- What a version repeats, and how it compares.
SELECT o.id, m.name AS model, o.number, r.outcome, r.judged_by, r.differences
FROM reproduction r JOIN version o ON o.id = r.of_id JOIN model m ON m.id = o.model_id
WHERE r.model_id = $1 AND r.number = $2

-- name: reproduced_by
-- The newest versions that repeat this one.
SELECT v.id, m.name AS model, v.number, r.outcome
FROM reproduction r JOIN version v ON (v.model_id, v.number) = (r.model_id, r.number) JOIN model m ON m.id = v.model_id
WHERE r.of_id = $1
ORDER BY r.judged_at DESC, v.number DESC
LIMIT $2
