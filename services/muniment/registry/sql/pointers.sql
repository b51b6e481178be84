-- Statements of branches, pointers, contracts and promotions. Unqualified names: the search path is `registry`.

-- branches ----------------------------------------------------------------------------------------------------------

-- name: branch
SELECT b.name, b.head_number, v.id AS head_id, b.created_at, b.created_by, b.closed_at, b.closed_by, b.protected,
       (SELECT count(*) FROM version w WHERE w.model_id = b.model_id AND w.branch = b.name) AS versions
FROM branch b JOIN version v ON (v.model_id, v.number) = (b.model_id, b.head_number)
WHERE b.model_id = $1 AND b.name = $2

-- name: branches_then
-- The branches with the heads they had at a moment.
SELECT m.branch AS name, m.to_number AS head_number, v.id AS head_id, m.moved_at
FROM (
    SELECT DISTINCT ON (branch) branch, to_number, moved_at FROM branch_move
    WHERE model_id = $1 AND branch > $2 AND moved_at <= $4 ORDER BY branch, seq DESC
) AS m
JOIN version v ON v.model_id = $1 AND v.number = m.to_number
ORDER BY m.branch LIMIT $3

-- name: create_branch
WITH made AS (
    INSERT INTO branch (model_id, name, head_number, created_at, created_by) VALUES ($1, $2, $3, $4, $5)
)
INSERT INTO branch_move (model_id, branch, from_number, to_number, moved_at, operator, cause, reason)
VALUES ($1, $2, NULL, $3, $4, $5, $6, $7)

-- name: close_branch
UPDATE branch SET closed_at = $3, closed_by = $4 WHERE model_id = $1 AND name = $2

-- name: protect_branch
UPDATE branch SET protected = $3 WHERE model_id = $1 AND name = $2

-- name: move_branch
WITH moved AS (
    UPDATE branch SET head_number = $4 WHERE model_id = $1 AND name = $2
)
INSERT INTO branch_move (model_id, branch, from_number, to_number, moved_at, operator, cause, reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: branch_moves
SELECT seq, from_number, to_number, moved_at, operator, cause, reason FROM branch_move
WHERE model_id = $1 AND branch = $2 AND ($3::bigint IS NULL OR seq < $3)
ORDER BY seq DESC LIMIT $4

-- name: reaches
-- Whether the version $3 is on the way back from $2, by branches and by parents. Every step back leads to a smaller
-- number, so nothing below $3 is looked at.
WITH RECURSIVE way (number) AS (
    SELECT $2::bigint
    UNION
    SELECT step.number
    FROM way
    CROSS JOIN LATERAL (
        SELECT previous_number AS number FROM version WHERE model_id = $1 AND number = way.number
        UNION ALL
        SELECT parent.number FROM version_parent p JOIN version parent ON parent.id = p.parent_id
        WHERE p.model_id = $1 AND p.number = way.number AND parent.model_id = $1
    ) AS step
    WHERE step.number >= $3::bigint
)
SELECT EXISTS (SELECT FROM way WHERE number = $3)

-- pointers ----------------------------------------------------------------------------------------------------------

-- name: pointer
SELECT p.name, p.number, v.id, p.revision, p.created_at, p.created_by, p.moved_at, p.moved_by
FROM pointer p JOIN version v ON (v.model_id, v.number) = (p.model_id, p.number)
WHERE p.model_id = $1 AND p.name = $2

-- name: list_pointers
SELECT p.name, p.number, v.id, p.revision, p.created_at, p.created_by, p.moved_at, p.moved_by
FROM pointer p JOIN version v ON (v.model_id, v.number) = (p.model_id, p.number)
WHERE p.model_id = $1 AND p.name > $2
ORDER BY p.name LIMIT $3

-- name: pointers_then
SELECT m.name, m.to_number AS number, v.id, m.moved_at, m.operator AS moved_by
FROM (
    SELECT DISTINCT ON (name) name, to_number, moved_at, operator FROM pointer_move
    WHERE model_id = $1 AND name > $2 AND moved_at <= $4 ORDER BY name, seq DESC
) AS m
JOIN version v ON v.model_id = $1 AND v.number = m.to_number
ORDER BY m.name LIMIT $3

-- name: move_pointer
WITH moved AS (
    INSERT INTO pointer AS p (model_id, name, number, created_at, created_by, moved_at, moved_by)
    VALUES ($1, $2, $5, $6, $7, $6, $7)
    ON CONFLICT (model_id, name) DO UPDATE
    SET number = excluded.number, revision = p.revision + 1, moved_at = excluded.moved_at, moved_by = excluded.moved_by
)
INSERT INTO pointer_move (model_id, name, verb, from_number, to_number, moved_at, operator, reason, cause)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: delete_pointer
WITH gone AS (
    DELETE FROM pointer WHERE model_id = $1 AND name = $2
)
INSERT INTO pointer_move (model_id, name, verb, from_number, to_number, moved_at, operator, reason, cause)
VALUES ($1, $2, 'delete', $3, NULL, $4, $5, $6, $7)

-- name: pointer_moves
SELECT seq, verb, from_number, to_number, moved_at, operator, reason, cause FROM pointer_move
WHERE model_id = $1 AND name = $2 AND ($3::bigint IS NULL OR seq < $3)
ORDER BY seq DESC LIMIT $4

-- name: last_move_to
SELECT max(seq) FROM pointer_move WHERE model_id = $1 AND name = $2 AND to_number = $3

-- contracts ---------------------------------------------------------------------------------------------------------

-- name: contract
SELECT revision, tolerances, checks, approvals, frozen_at, frozen_by, freeze_reason, changed_at, changed_by
FROM contract WHERE model_id = $1

-- name: put_contract
INSERT INTO contract AS c (model_id, tolerances, checks, approvals, changed_at, changed_by)
VALUES ($1, $2::jsonb, $3, $4, $5, $6)
ON CONFLICT (model_id) DO UPDATE
SET revision = c.revision + 1, tolerances = excluded.tolerances, checks = excluded.checks,
    approvals = excluded.approvals, changed_at = excluded.changed_at, changed_by = excluded.changed_by

-- name: freeze
INSERT INTO contract AS c (model_id, frozen_at, frozen_by, freeze_reason, changed_at, changed_by)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (model_id) DO UPDATE
SET revision = c.revision + 1, frozen_at = $2, frozen_by = $3, freeze_reason = $4, changed_at = $5, changed_by = $6

-- name: insert_approval
INSERT INTO approval (model_id, number, operator, approved, comment, given_at) VALUES ($1, $2, $3, $4, $5, $6)

-- name: approvals
SELECT DISTINCT ON (operator) operator, approved, comment, given_at
FROM approval WHERE model_id = $1 AND number = $2 ORDER BY operator, seq DESC

-- name: insert_check
INSERT INTO version_check (model_id, number, name, passed, details, operator, reported_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: checks
SELECT DISTINCT ON (name) name, passed, details, operator, reported_at
FROM version_check WHERE model_id = $1 AND number = $2 ORDER BY name, seq DESC

-- versions' own texts -----------------------------------------------------------------------------------------------

-- name: describe
UPDATE version SET description = $3, tags = $4::jsonb WHERE model_id = $1 AND number = $2

-- name: make_stable
UPDATE version SET stability = 'stable' WHERE model_id = $1 AND number = $2 AND stability <> 'stable'

-- name: keep_reversible
INSERT INTO reversible (audit_event, model_id, action, target, before, after, changed_at)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7)
ON CONFLICT (audit_event) DO NOTHING

-- name: reversible
SELECT r.model_id, m.name AS model, r.action, r.target, r.before, r.after, r.changed_at
FROM reversible r JOIN model m ON m.id = r.model_id WHERE r.audit_event = $1
