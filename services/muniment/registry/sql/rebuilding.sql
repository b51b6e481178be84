-- Statements of the rebuild. Unqualified names: the search path is the schema `registry`.
-- Rows come as one JSON array ($2); `jsonb_populate_recordset` gives each column the type of the table's.

-- name: first_model
SELECT name FROM model ORDER BY id LIMIT 1

-- name: later
-- Parents and originals may be versions of models that are written after this one. All is one transaction, which waits
-- while log and store are read.
SET LOCAL idle_in_transaction_session_timeout = 0;
CREATE TEMPORARY TABLE parent_later (LIKE version_parent);
CREATE TEMPORARY TABLE reproduction_later (LIKE reproduction)

-- name: put_track
INSERT INTO track (name, lock_mode, retention_s) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING

-- name: tracks
SELECT name, lock_mode, retention_s FROM track ORDER BY name

-- name: unsent
SELECT count(*) FROM (SELECT FROM outbox WHERE sent_at IS NULL LIMIT 100000) AS waiting

-- name: insert_model
INSERT INTO model (name_key, name, created_at, created_by, last_number) VALUES ($1, $2, $3, $4, $5) RETURNING id

-- name: insert_versions
INSERT INTO version
    (model_id, number, id, publication_id, branch, previous_number, stability, track, operator, authenticated_by,
     committed_at, manifest, manifest_bucket, manifest_key, manifest_version_id, manifest_locked_until, size_bytes,
     file_count, description, tags)
SELECT $1, number, id, publication_id, branch, previous_number, stability, track, operator, authenticated_by,
       committed_at, manifest, manifest_bucket, manifest_key, manifest_version_id, manifest_locked_until, size_bytes,
       file_count, description, tags
FROM jsonb_populate_recordset(NULL::version, $2::jsonb)

-- name: insert_files
WITH new AS (
    SELECT * FROM jsonb_to_recordset($2::jsonb) AS new (
        number bigint, path text, format text, role text, sha256 text, bucket text, key text, version_id text,
        size bigint, lock_mode text, locked_until timestamptz
    )
), stored AS (
    INSERT INTO stored_object AS o (bucket, key, version_id, sha256, size, lock_mode, locked_until)
    SELECT DISTINCT ON (bucket, key, version_id) bucket, key, version_id, sha256, size, lock_mode, locked_until
    FROM new
    ON CONFLICT (bucket, key, version_id) DO UPDATE SET locked_until = greatest(o.locked_until, excluded.locked_until)
    RETURNING id, bucket, key, version_id
)
INSERT INTO version_file (model_id, number, path, object_id, format, role)
SELECT $1, new.number, new.path, stored.id, new.format, new.role
FROM new JOIN stored USING (bucket, key, version_id)

-- name: insert_parents_later
INSERT INTO parent_later (model_id, number, parent_id, kind)
SELECT $1, number, parent_id, kind FROM jsonb_populate_recordset(NULL::version_parent, $2::jsonb)

-- name: insert_parents
INSERT INTO version_parent (model_id, number, parent_id, kind)
SELECT p.model_id, p.number, p.parent_id, p.kind FROM parent_later p JOIN version v ON v.id = p.parent_id

-- name: insert_branches
INSERT INTO branch (model_id, name, head_number, created_at, created_by, closed_at, closed_by, protected)
SELECT $1, name, head_number, created_at, created_by, closed_at, closed_by, protected
FROM jsonb_populate_recordset(NULL::branch, $2::jsonb)

-- name: insert_branch_moves
INSERT INTO branch_move (model_id, branch, from_number, to_number, moved_at, operator, cause, reason)
SELECT $1, branch, from_number, to_number, moved_at, operator, cause, reason
FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (
    branch text, from_number bigint, to_number bigint, moved_at timestamptz, operator text, cause text, reason text
)) WITH ORDINALITY AS moved (branch, from_number, to_number, moved_at, operator, cause, reason, place)
ORDER BY place

-- name: insert_pointers
INSERT INTO pointer (model_id, name, number, revision, created_at, created_by, moved_at, moved_by)
SELECT $1, name, number, revision, created_at, created_by, moved_at, moved_by
FROM jsonb_populate_recordset(NULL::pointer, $2::jsonb)

-- name: insert_pointer_moves
INSERT INTO pointer_move (model_id, name, verb, from_number, to_number, moved_at, operator, reason, cause)
SELECT $1, name, verb, from_number, to_number, moved_at, operator, reason, cause
FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (
    name text, verb text, from_number bigint, to_number bigint, moved_at timestamptz, operator text, reason text,
    cause text
)) WITH ORDINALITY AS moved (name, verb, from_number, to_number, moved_at, operator, reason, cause, place)
ORDER BY place

-- name: insert_tombstones
INSERT INTO tombstone (model_id, number, reason, operator, deleted_at)
SELECT $1, number, reason, operator, deleted_at FROM jsonb_populate_recordset(NULL::tombstone, $2::jsonb)

-- name: insert_reproductions_later
INSERT INTO reproduction_later (model_id, number, of_id, outcome, judged_by, differences, judged_at)
SELECT $1, number, of_id, outcome, judged_by, differences, judged_at
FROM jsonb_populate_recordset(NULL::reproduction, $2::jsonb)

-- name: insert_reproductions
INSERT INTO reproduction SELECT r.* FROM reproduction_later r JOIN version v ON v.id = r.of_id

-- name: insert_signatures
INSERT INTO version_signature (model_id, number, judged_at, path, status, method, signer, code, uncovered)
SELECT $1, number, judged_at, path, status, method, signer, code, uncovered
FROM jsonb_populate_recordset(NULL::version_signature, $2::jsonb)

-- name: insert_contract
INSERT INTO contract
    (model_id, revision, tolerances, checks, approvals, frozen_at, frozen_by, freeze_reason, changed_at, changed_by)
SELECT $1, revision, tolerances, checks, approvals, frozen_at, frozen_by, freeze_reason, changed_at, changed_by
FROM jsonb_populate_recordset(NULL::contract, $2::jsonb)

-- name: insert_releases
INSERT INTO release
    (model_id, semver, precedence, prerelease, number, id, track, copy, notes, operator, released_at, manifest,
     manifest_bucket, manifest_key, manifest_version_id, manifest_locked_until)
SELECT $1, semver, precedence, prerelease, number, id, track, copy, notes, operator, released_at, manifest,
       manifest_bucket, manifest_key, manifest_version_id, manifest_locked_until
FROM jsonb_populate_recordset(NULL::release, $2::jsonb)

-- name: insert_release_files
WITH new AS (
    SELECT * FROM jsonb_to_recordset($2::jsonb) AS new (
        semver text, path text, format text, role text, sha256 text, bucket text, key text, version_id text,
        size bigint, lock_mode text, locked_until timestamptz
    )
), stored AS (
    INSERT INTO stored_object AS o (bucket, key, version_id, sha256, size, lock_mode, locked_until)
    SELECT DISTINCT ON (bucket, key, version_id) bucket, key, version_id, sha256, size, lock_mode, locked_until
    FROM new
    ON CONFLICT (bucket, key, version_id) DO UPDATE SET locked_until = greatest(o.locked_until, excluded.locked_until)
    RETURNING id, bucket, key, version_id
)
INSERT INTO release_file (model_id, semver, path, object_id, format, role)
SELECT $1, new.semver, new.path, stored.id, new.format, new.role
FROM new JOIN stored USING (bucket, key, version_id)

-- What is compared: each statement gives one table in the order of its key, without ids that only one database knows.
-- Texts are ordered by their bytes, as the reader of both streams orders them.

-- name: live_model
SELECT name_key COLLATE "C" AS model, name, created_at, created_by, last_number FROM model ORDER BY 1

-- name: live_version
SELECT m.name_key COLLATE "C" AS model, v.number, v.id, v.publication_id, v.branch, v.previous_number, v.stability,
       v.track, v.operator, v.authenticated_by, v.committed_at,
       'sha256:' || encode(sha256(v.manifest), 'hex') AS manifest, v.manifest_bucket, v.manifest_key,
       v.manifest_version_id, v.manifest_locked_until, v.size_bytes, v.file_count, v.description, v.tags
FROM version v JOIN model m ON m.id = v.model_id ORDER BY 1, 2

-- name: live_version_file
SELECT m.name_key COLLATE "C" AS model, f.number, f.path COLLATE "C" AS path, f.format, f.role, o.sha256, o.size,
       o.bucket, o.key, o.version_id, o.lock_mode, o.locked_until
FROM version_file f JOIN stored_object o ON o.id = f.object_id JOIN model m ON m.id = f.model_id ORDER BY 1, 2, 3

-- name: live_version_parent
SELECT m.name_key COLLATE "C" AS model, p.number, p.parent_id COLLATE "C" AS parent_id, p.kind
FROM version_parent p JOIN model m ON m.id = p.model_id ORDER BY 1, 2, 3

-- name: live_branch
SELECT m.name_key COLLATE "C" AS model, b.name COLLATE "C" AS name, b.head_number, b.created_at, b.created_by,
       b.closed_at, b.closed_by, b.protected
FROM branch b JOIN model m ON m.id = b.model_id ORDER BY 1, 2

-- name: live_branch_move
SELECT m.name_key COLLATE "C" AS model, b.branch COLLATE "C" AS branch,
       row_number() OVER (PARTITION BY b.model_id, b.branch ORDER BY b.seq) AS place,
       b.from_number, b.to_number, b.moved_at, b.operator, b.cause, b.reason
FROM branch_move b JOIN model m ON m.id = b.model_id ORDER BY 1, 2, 3

-- name: live_pointer
SELECT m.name_key COLLATE "C" AS model, p.name COLLATE "C" AS name, p.number, p.revision, p.created_at, p.created_by,
       p.moved_at, p.moved_by
FROM pointer p JOIN model m ON m.id = p.model_id ORDER BY 1, 2

-- name: live_pointer_move
SELECT m.name_key COLLATE "C" AS model, p.name COLLATE "C" AS name,
       row_number() OVER (PARTITION BY p.model_id, p.name ORDER BY p.seq) AS place,
       p.verb, p.from_number, p.to_number, p.moved_at, p.operator, p.reason, p.cause
FROM pointer_move p JOIN model m ON m.id = p.model_id ORDER BY 1, 2, 3

-- name: live_release
SELECT m.name_key COLLATE "C" AS model, r.semver COLLATE "C" AS semver, r.number, r.id, r.track, r.copy, r.notes,
       r.operator, r.released_at, r.prerelease, encode(r.precedence, 'hex') AS precedence,
       'sha256:' || encode(sha256(r.manifest), 'hex') AS manifest, r.manifest_bucket, r.manifest_key,
       r.manifest_version_id, r.manifest_locked_until
FROM release r JOIN model m ON m.id = r.model_id ORDER BY 1, 2

-- name: live_release_file
SELECT m.name_key COLLATE "C" AS model, f.semver COLLATE "C" AS semver, f.path COLLATE "C" AS path, f.format, f.role,
       o.sha256, o.size, o.bucket, o.key, o.version_id, o.lock_mode, o.locked_until
FROM release_file f JOIN stored_object o ON o.id = f.object_id JOIN model m ON m.id = f.model_id ORDER BY 1, 2, 3

-- name: live_tombstone
SELECT m.name_key COLLATE "C" AS model, t.number, t.reason, t.operator, t.deleted_at
FROM tombstone t JOIN model m ON m.id = t.model_id ORDER BY 1, 2

-- name: live_reproduction
SELECT m.name_key COLLATE "C" AS model, r.number, r.of_id, r.outcome, r.judged_by, r.differences, r.judged_at
FROM reproduction r JOIN model m ON m.id = r.model_id ORDER BY 1, 2

-- name: live_version_signature
SELECT m.name_key COLLATE "C" AS model, s.number, s.judged_at, s.path, s.status, s.method, s.signer, s.code, s.uncovered
FROM version_signature s JOIN model m ON m.id = s.model_id ORDER BY 1, 2, 3

-- name: live_contract
SELECT m.name_key COLLATE "C" AS model, c.revision, c.tolerances, c.checks, c.approvals, c.frozen_at, c.frozen_by,
       c.freeze_reason, c.changed_at, c.changed_by
FROM contract c JOIN model m ON m.id = c.model_id ORDER BY 1

-- name: live_candidate
SELECT publication_id::text COLLATE "C" AS publication_id, model, operator, state,
       'sha256:' || encode(sha256(publication), 'hex') AS publication, validated_at, decided_at, decided_by, reason,
       version_id
FROM candidate ORDER BY 1
