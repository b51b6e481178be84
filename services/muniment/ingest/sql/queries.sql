-- Statements of ingest. Unqualified names: the connection's search path is the service's schema.

-- name: insert_publications
-- Rows come sorted by id, so that two transactions with the same ids never wait for each other in a circle.
INSERT INTO publication (
    id, event_source, event_id, idempotency_key, model, branch, commit_mode, track, stage, rank, operator,
    authenticated_by, declaration, declaration_sha256, files, rejection, history, created_at, updated_at
)
SELECT
    id, event_source, event_id, idempotency_key, model, branch, commit_mode, track, stage, rank, operator,
    authenticated_by, declaration, declaration_sha256, files, rejection,
    jsonb_build_array(jsonb_build_object('stage', stage, 'at', $17::timestamptz, 'cause', cause)), $17, $17
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::smallint[], $11::text[], $12::text[], $13::bytea[], $14::text[], $15::jsonb[], $16::jsonb[], $18::text[]
) AS new (
    id, event_source, event_id, idempotency_key, model, branch, commit_mode, track, stage,
    rank, operator, authenticated_by, declaration, declaration_sha256, files, rejection, cause
)
ON CONFLICT (id) DO NOTHING
RETURNING id

-- name: known_publications
SELECT id, operator, declaration_sha256 FROM publication WHERE id = ANY($1::uuid[])

-- name: advance
-- Locks in the order of ids. The stage only rises, and the highest rank is final; what is known of the progress grows.
-- Publications that are not here are of another region.
WITH change AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::jsonb[], $6::jsonb[], $7::bigint[], $8::bigint[]
    ) AS new (id, stage, rank, cause, version, rejection, bytes_done, bytes_total)
), locked AS (
    SELECT id FROM publication WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE
)
UPDATE publication AS p SET
    stage = CASE WHEN change.rank > p.rank THEN change.stage ELSE p.stage END,
    rank = greatest(change.rank, p.rank),
    version = CASE WHEN change.rank > p.rank THEN change.version ELSE p.version END,
    rejection = CASE WHEN change.rank > p.rank THEN change.rejection ELSE p.rejection END,
    history = CASE WHEN change.rank > p.rank
        THEN p.history || jsonb_build_object('stage', change.stage, 'at', $9::timestamptz, 'cause', change.cause)
        ELSE p.history END,
    bytes_done = greatest(p.bytes_done, change.bytes_done),
    bytes_total = greatest(p.bytes_total, change.bytes_total),
    updated_at = $9
FROM locked JOIN change USING (id)
WHERE p.id = locked.id AND (change.rank > p.rank OR change.bytes_done > coalesce(p.bytes_done, -1))
RETURNING p.id, p.stage

-- name: publication
SELECT * FROM publication_summary WHERE id = $1

-- name: draft
SELECT s.*, p.declaration, p.files,
    (SELECT coalesce(jsonb_agg(to_jsonb(u) ORDER BY u.sha256), '[]') FROM upload AS u WHERE u.publication_id = p.id) AS uploads
FROM publication AS p JOIN publication_summary AS s USING (id)
WHERE p.id = $1

-- name: list_all
SELECT * FROM publication_summary WHERE position < $1 ORDER BY position DESC LIMIT $2

-- name: list_of_model
SELECT * FROM publication_summary WHERE lower(model) = lower($3) AND position < $1 ORDER BY position DESC LIMIT $2

-- name: list_in_stage
SELECT * FROM publication_summary WHERE stage = $3 AND position < $1 ORDER BY position DESC LIMIT $2

-- name: list_of_model_in_stage
SELECT * FROM publication_summary
WHERE lower(model) = lower($3) AND stage = $4 AND position < $1 ORDER BY position DESC LIMIT $2

-- name: pipeline
-- How many are accepted and have not ended, counted no further than $1, from the index on (stage, position) alone.
SELECT count(*) FROM (SELECT FROM publication WHERE stage IN ('trained', 'validating') LIMIT $1) AS under_way

-- name: insert_uploads
INSERT INTO upload (publication_id, sha256, size, bucket, key, part_size)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])

-- name: begin_multipart
-- Only where nobody else has begun another one since.
UPDATE upload SET upload_id = $4
WHERE publication_id = $1 AND sha256 = $2 AND upload_id IS NOT DISTINCT FROM $3
RETURNING upload_id

-- name: finish_upload
UPDATE upload SET version_id = $3 WHERE publication_id = $1 AND sha256 = $2

-- name: accept_upload
WITH accepted AS (
    UPDATE publication SET
        stage = $2, rank = $3, files = $4::jsonb, updated_at = $5,
        history = history || jsonb_build_object('stage', $2::text, 'at', $5::timestamptz, 'cause', $6::text)
    WHERE id = $1 AND stage = 'uploading'
    RETURNING id
), gone AS (
    DELETE FROM upload WHERE publication_id IN (SELECT id FROM accepted) AND (upload_id IS NULL OR version_id IS NOT NULL)
)
SELECT id FROM accepted

-- name: abandon
-- Uploads in parts stay until their parts are freed in the store.
WITH abandoned AS (
    UPDATE publication SET
        stage = 'abandoned', rank = $2, updated_at = $3,
        history = history || jsonb_build_object('stage', 'abandoned', 'at', $3::timestamptz, 'cause', $4::text)
    WHERE id = ANY($1::uuid[]) AND stage = 'uploading'
    RETURNING id, model
), gone AS (
    DELETE FROM upload WHERE publication_id IN (SELECT id FROM abandoned) AND (upload_id IS NULL OR version_id IS NOT NULL)
)
SELECT id, model FROM abandoned

-- name: expired
SELECT id FROM publication
WHERE stage = 'uploading' AND created_at < $1
ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED

-- name: leftover_uploads
SELECT u.*
FROM upload AS u JOIN publication AS p ON p.id = u.publication_id
WHERE p.stage <> 'uploading'
LIMIT $1

-- name: delete_upload
DELETE FROM upload WHERE publication_id = $1 AND sha256 = $2

-- name: hold_uploads
-- Conflicts with every write to the table, not with reads.
LOCK TABLE upload IN SHARE MODE

-- name: needed_digests
SELECT sha256 FROM upload WHERE sha256 = ANY($1::text[])
UNION
SELECT file ->> 'sha256'
FROM publication, jsonb_array_elements(files) AS file
WHERE stage IN ('uploading', 'trained', 'validating', 'candidate') AND file ->> 'sha256' = ANY($1::text[])

-- name: held_versions
-- An upload's key names its digest, so what is held of it is found by its primary key.
SELECT version_id FROM held_blob WHERE sha256 = ANY($1::text[]) AND version_id = ANY($2::text[])

-- name: held
SELECT sha256, size, bucket, key, version_id FROM held_blob WHERE sha256 = ANY($1::text[])

-- name: hold
-- The first one stays: it is as good as the next, and is left alone by a replay.
INSERT INTO held_blob (sha256, size, bucket, key, version_id)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[])
ON CONFLICT (sha256) DO NOTHING

-- name: forget_held
DELETE FROM held_blob WHERE sha256 = $1 AND version_id = $2

-- name: forget_damaged
DELETE FROM held_blob
USING unnest($1::text[], $2::text[]) AS damaged (sha256, version_id)
WHERE held_blob.sha256 = damaged.sha256 AND held_blob.version_id = damaged.version_id

-- name: forget_held_by_rejected
-- A rejected publication may have been rejected for bytes that are damaged: the next one is to upload them anew.
DELETE FROM held_blob WHERE (sha256, version_id) IN (
    SELECT file ->> 'sha256', file -> 'location' ->> 'version_id'
    FROM publication, jsonb_array_elements(files) AS file
    WHERE id = ANY($1::uuid[]) AND file ->> 'origin' = 'held'
)
