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
