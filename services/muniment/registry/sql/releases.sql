-- Statements of releases and tracks. Unqualified names: the search path is the schema `registry`.

-- name: release
-- One release of a model (its id), or one that has the same precedence: the same but for build metadata.
SELECT r.*, v.id AS source_id, m.name AS model
FROM release r
JOIN version v ON (v.model_id, v.number) = (r.model_id, r.number)
JOIN model m ON m.id = r.model_id
WHERE r.model_id = $1 AND r.precedence = $2

-- name: list_releases
-- Highest first, below a precedence.
SELECT r.semver, r.id, r.prerelease, r.number, v.id AS source_id, r.track, r.copy, r.notes, r.operator, r.released_at,
       r.manifest_bucket, r.manifest_key, r.manifest_version_id
FROM release r JOIN version v ON (v.model_id, v.number) = (r.model_id, r.number)
WHERE r.model_id = $1 AND ($2::bytea IS NULL OR r.precedence < $2)
ORDER BY r.precedence DESC
LIMIT $3

-- name: releases_between
-- Releases of a model (its key) with a precedence in these bounds, highest first; as of a moment if one is given.
SELECT r.semver, r.precedence
-- The model is a subquery so that the index gives the order: a join would have to sort all of them.
FROM release r
WHERE r.model_id = (SELECT id FROM model WHERE name_key = $1) AND r.precedence BETWEEN $2 AND $3 AND (NOT r.prerelease OR $4)
    AND ($5::timestamptz IS NULL OR r.released_at <= $5)
ORDER BY r.precedence DESC
LIMIT $6 OFFSET $7

-- name: release_files
SELECT f.path, f.format, f.role, o.sha256, o.size, o.bucket, o.key, o.version_id, o.lock_mode, o.locked_until,
       o.damaged_at, o.damage_code, o.damage_actual
FROM release_file f JOIN stored_object o ON o.id = f.object_id
WHERE f.model_id = $1 AND f.semver = $2
ORDER BY f.path

-- name: insert_release
INSERT INTO release
    (model_id, semver, precedence, prerelease, number, id, track, copy, notes, operator, released_at, manifest,
     manifest_bucket, manifest_key, manifest_version_id, manifest_locked_until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)

-- name: insert_release_files
-- A logical copy refers to objects that have a row: their lock only grows.
WITH new AS (
    SELECT * FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::timestamptz[],
                         $10::text[], $11::text[], $12::text[])
        AS new (bucket, key, version_id, sha256, size, lock_mode, locked_until, path, format, role)
), stored AS (
    INSERT INTO stored_object AS o (bucket, key, version_id, sha256, size, lock_mode, locked_until)
    SELECT DISTINCT ON (bucket, key, version_id) bucket, key, version_id, sha256, size, lock_mode, locked_until
    FROM new
    ORDER BY bucket, key, version_id
    ON CONFLICT (bucket, key, version_id) DO UPDATE
        SET locked_until = greatest(o.locked_until, excluded.locked_until),
            lock_mode = least(o.lock_mode, excluded.lock_mode) -- COMPLIANCE comes before GOVERNANCE, and is stricter
    RETURNING id, bucket, key, version_id
)
INSERT INTO release_file (model_id, semver, path, object_id, format, role)
SELECT $1, $2, new.path, stored.id, new.format, new.role
FROM new JOIN stored USING (bucket, key, version_id)

-- name: make_stable
UPDATE version SET stability = 'stable' WHERE model_id = $1 AND number = $2

-- name: check_outcomes
-- The newest outcome of each of these checks of a version.
SELECT DISTINCT ON (name) name, passed FROM version_check
WHERE model_id = $1 AND number = $2 AND name = ANY($3::text[])
ORDER BY name, seq DESC

-- name: list_tracks
SELECT name, lock_mode, retention_s, bucket, formats, checks, signature_required, created_at, created_by, changed_at, changed_by
FROM track WHERE name > $1 ORDER BY name LIMIT $2

-- name: track
SELECT name, lock_mode, retention_s, bucket, formats, checks, signature_required, created_at, created_by, changed_at, changed_by
FROM track WHERE name = $1

-- name: lock_tracks
-- Changes of tracks are rare: one after the other. Versions are committed meanwhile.
LOCK TABLE track IN SHARE ROW EXCLUSIVE MODE

-- name: count_tracks
SELECT count(*) FROM track

-- name: change_track
INSERT INTO track AS t
    (name, lock_mode, retention_s, bucket, formats, checks, signature_required, longest_retention_s, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $9, $3, $7, $8)
ON CONFLICT (name) DO UPDATE
    SET lock_mode = excluded.lock_mode, retention_s = excluded.retention_s, bucket = excluded.bucket,
        formats = excluded.formats, checks = excluded.checks, signature_required = excluded.signature_required,
        longest_retention_s = greatest(t.longest_retention_s, t.retention_s, excluded.retention_s),
        left_buckets = CASE
            WHEN t.bucket IS NULL OR t.bucket = excluded.bucket OR t.bucket = ANY(t.left_buckets) THEN t.left_buckets
            ELSE t.left_buckets || t.bucket
        END,
        changed_at = $7, changed_by = $8
