-- Statements of refused requests. Unqualified names: the search path is the service's schema.

-- name: count_refusal
INSERT INTO refusal_tally AS t (operator, authenticated_by, operation, code, minute, count, resource)
VALUES ($1, $2, $3, $4, $5, 1, $6)
ON CONFLICT (minute, operator, authenticated_by, operation, code) DO UPDATE SET count = t.count + 1
RETURNING count

-- name: take_ended
-- Tallies of minutes before $1, at most $2, for whoever takes them first.
DELETE FROM refusal_tally AS t
USING (
    SELECT minute, operator, authenticated_by, operation, code FROM refusal_tally
    WHERE minute < $1 ORDER BY minute LIMIT $2 FOR UPDATE SKIP LOCKED
) AS ended
WHERE (t.minute, t.operator, t.authenticated_by, t.operation, t.code)
    = (ended.minute, ended.operator, ended.authenticated_by, ended.operation, ended.code)
RETURNING t.*
