-- Statements of the rebuild. Unqualified names: the search path is the schema `registry`.
-- Rows come as one JSON array ($2); `jsonb_populate_recordset` gives each column the type of the table's.

-- name: first_model
SELECT name FROM model ORDER BY id LIMIT 1

-- name: later
-- Parents and originals may be versions of models that are written after this one. All is one transaction, which waits
-- while log and store are read.
SET LOCAL idle_in_transaction_session_timeout = 0;
CREATE TEMPORARY TABLE parent_later (LIKE version_parent);
CREATE TEMPORARY TABLE reproduction_later (LIKE reproduction);
CREATE TEMPORARY TABLE measurement_later (
    place bigint GENERATED ALWAYS AS IDENTITY, batch_id uuid, metric text, value double precision, unit text,
    dataset text, slice text, measured_at timestamptz
)

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

-- name: insert_approvals
INSERT INTO approval (model_id, number, operator, approved, comment, given_at)
SELECT $1, number, operator, approved, comment, given_at
FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (
    number bigint, operator text, approved boolean, comment text, given_at timestamptz
)) WITH ORDINALITY AS new (number, operator, approved, comment, given_at, place)
ORDER BY place

-- name: insert_checks
INSERT INTO version_check (model_id, number, name, passed, details, operator, reported_at)
SELECT $1, number, name, passed, details, operator, reported_at
FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (
    number bigint, name text, passed boolean, details text, operator text, reported_at timestamptz
)) WITH ORDINALITY AS new (number, name, passed, details, operator, reported_at, place)
ORDER BY place

-- name: insert_deployments
INSERT INTO deployment
    (model_id, number, semver, environment, deployer, state, at, url, details, operator, reported_at)
SELECT $1, number, semver, environment, deployer, state, at, url, details, operator, reported_at
FROM ROWS FROM (jsonb_to_recordset($2::jsonb) AS (
    number bigint, semver text, environment text, deployer text, state text, at timestamptz, url text, details text,
    operator text, reported_at timestamptz
)) WITH ORDINALITY AS new
    (number, semver, environment, deployer, state, at, url, details, operator, reported_at, place)
ORDER BY place

-- name: insert_batches
INSERT INTO measurement_batch (id, model_id, number, kind, count, sha256, operator, recorded_at)
SELECT id, $1, number, kind, count, sha256, operator, recorded_at
FROM jsonb_populate_recordset(NULL::measurement_batch, $2::jsonb)

-- name: insert_units
INSERT INTO metric_unit (model_id, metric, unit)
SELECT $1, metric, unit FROM jsonb_populate_recordset(NULL::metric_unit, $2::jsonb)

-- name: insert_measurements_later
-- Values come as texts, so that none is rounded on the way.
INSERT INTO measurement_later (batch_id, metric, value, unit, dataset, slice, measured_at)
SELECT batch_id, metric, value::double precision, unit, dataset, slice, measured_at::timestamptz
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    WITH ORDINALITY AS new (batch_id, metric, value, unit, dataset, slice, measured_at, place)
ORDER BY place

-- name: insert_measurements
INSERT INTO measurement
    (batch_id, model_id, number, kind, metric, value, unit, dataset, slice, measured_at, recorded_at, operator)
SELECT b.id, b.model_id, b.number, b.kind, l.metric, l.value, l.unit, l.dataset, l.slice, l.measured_at,
       b.recorded_at, b.operator
FROM measurement_later l JOIN measurement_batch b ON b.id = l.batch_id ORDER BY l.place

-- name: insert_edges
INSERT INTO external_edge (run_id, job, way, name, digest, occurred_at, operator, cause)
SELECT run_id, job, way, name, digest, occurred_at, operator, cause
FROM jsonb_populate_recordset(NULL::external_edge, $1::jsonb)
ON CONFLICT (run_id, way, name, digest) DO NOTHING

-- name: insert_datasets
INSERT INTO version_dataset (model_id, number, name, digest, uri)
SELECT v.model_id, v.number, d ->> 'name', coalesce(d ->> 'digest', ''), d ->> 'uri'
FROM version v, jsonb_array_elements(
    CASE WHEN length(v.manifest) > 0 THEN convert_from(v.manifest, 'UTF8')::jsonb -> 'datasets' END
) AS d

-- name: insert_code
INSERT INTO version_code (model_id, number, repository, commit)
SELECT v.model_id, v.number, c.code ->> 'repository', c.code ->> 'commit'
FROM version v, LATERAL (
    SELECT CASE WHEN length(v.manifest) > 0 THEN convert_from(v.manifest, 'UTF8')::jsonb -> 'code' END AS code
) AS c
WHERE c.code ->> 'commit' IS NOT NULL

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

-- name: live_approval
SELECT m.name_key COLLATE "C" AS model, a.number,
       row_number() OVER (PARTITION BY a.model_id, a.number ORDER BY a.seq) AS place,
       a.operator, a.approved, a.comment, a.given_at
FROM approval a JOIN model m ON m.id = a.model_id ORDER BY 1, 2, 3

-- name: live_version_check
SELECT m.name_key COLLATE "C" AS model, c.number,
       row_number() OVER (PARTITION BY c.model_id, c.number ORDER BY c.seq) AS place,
       c.name, c.passed, c.details, c.operator, c.reported_at
FROM version_check c JOIN model m ON m.id = c.model_id ORDER BY 1, 2, 3

-- name: live_measurement_batch
SELECT m.name_key COLLATE "C" AS model, b.id::text COLLATE "C" AS batch, b.number, b.kind, b.count, b.sha256,
       b.operator, b.recorded_at
FROM measurement_batch b JOIN model m ON m.id = b.model_id ORDER BY 1, 2

-- name: live_measurement
SELECT m.name_key COLLATE "C" AS model, p.batch_id::text COLLATE "C" AS batch,
       row_number() OVER (PARTITION BY p.batch_id ORDER BY p.seq) AS place,
       p.number, p.kind, p.metric, p.value, p.unit, p.dataset, p.slice, p.measured_at, p.recorded_at, p.operator
FROM measurement p JOIN model m ON m.id = p.model_id ORDER BY 1, 2, 3

-- name: live_metric_unit
SELECT m.name_key COLLATE "C" AS model, u.metric COLLATE "C" AS metric, u.unit
FROM metric_unit u JOIN model m ON m.id = u.model_id ORDER BY 1, 2

-- name: live_deployment
SELECT m.name_key COLLATE "C" AS model, row_number() OVER (PARTITION BY d.model_id ORDER BY d.seq) AS place,
       d.number, d.semver, d.environment, d.deployer, d.state, d.at, d.url, d.details, d.operator, d.reported_at
FROM deployment d JOIN model m ON m.id = d.model_id ORDER BY 1, 2

-- name: live_external_edge
SELECT e.run_id::text COLLATE "C" AS run_id, coalesce(e.cause, '') COLLATE "C" AS cause, e.way COLLATE "C" AS way,
       e.name COLLATE "C" AS name, e.digest COLLATE "C" AS digest, e.job, e.occurred_at, e.operator
FROM external_edge e ORDER BY 1, 2, 3, 4, 5

-- name: live_version_dataset
SELECT m.name_key COLLATE "C" AS model, d.number,
       row_number() OVER (
           PARTITION BY d.model_id, d.number
           ORDER BY d.name COLLATE "C", d.digest COLLATE "C", d.uri COLLATE "C"
       ) AS place,
       d.name, d.digest, d.uri
FROM version_dataset d JOIN model m ON m.id = d.model_id ORDER BY 1, 2, 3

-- name: live_version_code
SELECT m.name_key COLLATE "C" AS model, c.number, c.repository, c.commit
FROM version_code c JOIN model m ON m.id = c.model_id ORDER BY 1, 2

-- name: live_candidate
SELECT publication_id::text COLLATE "C" AS publication_id, model, operator, state,
       'sha256:' || encode(sha256(publication), 'hex') AS publication, validated_at, decided_at, decided_by, reason,
       version_id
FROM candidate ORDER BY 1
