-- Statements of the scrubber. Unqualified names: the search path is the schema `registry`.

-- name: totals
-- What there is to read; `cost` counts a small object as $1 bytes. `oldest_s`: since when the longest waits.
SELECT count(*) AS objects, coalesce(sum(size), 0)::bigint AS size,
       coalesce(sum(greatest(size, $1::bigint)), 0)::bigint AS cost,
       extract(epoch FROM now() - min(last_scrubbed_at))::float8 AS oldest_s, min(last_scrubbed_at) AS oldest_at,
       count(*) FILTER (WHERE scrub_error IS NOT NULL) AS waiting, max(scrub_error) AS last_error,
       count(*) FILTER (WHERE damaged_at IS NOT NULL) AS damaged_objects
FROM needed_object

-- name: damaged_files
SELECT (SELECT count(*) FROM version_file f JOIN stored_object o ON o.id = f.object_id
        WHERE o.damaged_at IS NOT NULL
            AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (f.model_id, f.number)))
     + (SELECT count(*) FROM release_file f JOIN stored_object o ON o.id = f.object_id WHERE o.damaged_at IS NOT NULL)

-- name: pay_off
-- Time pays the debt at $1 bytes a second. Holds the row: leases of several processes are taken one after the other.
UPDATE scrub_pace SET
    debt = greatest(0, debt - $1::float8 * extract(epoch FROM clock_timestamp() - at)::float8), at = clock_timestamp()
RETURNING debt

-- name: borrow
UPDATE scrub_pace SET debt = debt + $1::float8

-- name: lease
-- The longest unread first: at most $1 objects, no more than begin within $3 bytes (one at least), not read since $4,
-- of a model ($5) or of all.
WITH due AS (
    SELECT o.id, o.size, o.last_scrubbed_at FROM stored_object o
    WHERE o.freed_at IS NULL AND o.scrub_until < now() AND o.last_scrubbed_at < $4
        AND ($5::bigint IS NULL
            OR EXISTS (SELECT FROM version_file f WHERE f.object_id = o.id AND f.model_id = $5)
            OR EXISTS (SELECT FROM release_file f WHERE f.object_id = o.id AND f.model_id = $5))
    ORDER BY o.last_scrubbed_at, o.id
    LIMIT $1
    FOR UPDATE OF o SKIP LOCKED
), placed AS (
    SELECT id, sum(size) OVER (ORDER BY last_scrubbed_at, id) - size AS before FROM due
)
UPDATE stored_object o
SET scrub_epoch = o.scrub_epoch + 1, scrub_until = now() + make_interval(secs => $2), scrub_read = 0
FROM placed
WHERE placed.id = o.id AND placed.before < $3
RETURNING o.id, o.bucket, o.key, o.version_id, o.sha256, o.size, o.scrub_epoch AS epoch,
          o.damaged_at IS NOT NULL AS damaged, EXISTS (SELECT FROM needed_object n WHERE n.id = o.id) AS needed

-- name: renew
UPDATE stored_object o SET scrub_until = now() + make_interval(secs => $4), scrub_read = mine.done
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS mine (id, epoch, done)
WHERE o.id = mine.id AND o.scrub_epoch = mine.epoch

-- name: mark_right
UPDATE stored_object o
SET last_scrubbed_at = clock_timestamp(), scrub_until = '-infinity', scrub_read = 0, scrub_error = NULL,
    scrub_failures = 0
FROM unnest($1::bigint[], $2::bigint[]) AS mine (id, epoch)
WHERE o.id = mine.id AND o.scrub_epoch = mine.epoch

-- name: put_off
-- Tried again after 5, 20, ... and at most $3 seconds; whether the store has failed ($5) counts. How often it has in a row.
UPDATE stored_object
SET scrub_until = now() + make_interval(secs => least($3::float8, 5 * 4.0 ^ least(scrub_failures, 10))), scrub_read = 0,
    scrub_error = $4, scrub_failures = CASE WHEN $5::boolean THEN scrub_failures + 1 ELSE 0 END
WHERE id = $1 AND scrub_epoch = $2
RETURNING scrub_failures

-- name: manifest_beside
-- A manifest of whatever holds the object: something else that the store must be able to give.
SELECT v.manifest_bucket AS bucket, v.manifest_key AS key, v.manifest_version_id AS version_id
FROM version_file f JOIN version v ON (v.model_id, v.number) = (f.model_id, f.number)
WHERE f.object_id = $1
UNION ALL
SELECT r.manifest_bucket, r.manifest_key, r.manifest_version_id
FROM release_file f JOIN release r ON (r.model_id, r.semver) = (f.model_id, f.semver)
WHERE f.object_id = $1
LIMIT 1

-- name: give_back
UPDATE stored_object o SET scrub_until = '-infinity', scrub_read = 0
FROM unnest($1::bigint[], $2::bigint[]) AS mine (id, epoch)
WHERE o.id = mine.id AND o.scrub_epoch = mine.epoch

-- damage ------------------------------------------------------------------------------------------------------------

-- name: object_at
SELECT id FROM stored_object WHERE bucket = $1 AND key = $2 AND version_id = $3

-- name: lock_object
SELECT id, bucket, key, version_id, sha256, size, lock_mode, locked_until, scrub_epoch, damaged_at, damage_code,
       damage_actual
FROM stored_object WHERE id = $1 FOR UPDATE

-- name: mark_damaged
UPDATE stored_object
SET damaged_at = coalesce(damaged_at, $2), damage_code = $3, damage_actual = $4,
    last_scrubbed_at = clock_timestamp(), scrub_until = '-infinity', scrub_read = 0, scrub_error = NULL,
    scrub_failures = 0
WHERE id = $1

-- name: mark_healed
UPDATE stored_object
SET damaged_at = NULL, damage_code = NULL, damage_actual = NULL,
    last_scrubbed_at = clock_timestamp(), scrub_until = '-infinity', scrub_read = 0, scrub_error = NULL,
    scrub_failures = 0
WHERE id = $1

-- name: holders
-- Whose files an object is: of versions that are not deleted, and of releases.
SELECT m.name AS model, f.number, v.id, NULL::text AS release, f.path
FROM version_file f
JOIN version v ON (v.model_id, v.number) = (f.model_id, f.number) JOIN model m ON m.id = f.model_id
WHERE f.object_id = $1
    AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (f.model_id, f.number))
UNION ALL
SELECT m.name, r.number, v.id, f.semver, f.path
FROM release_file f
JOIN release r ON (r.model_id, r.semver) = (f.model_id, f.semver)
JOIN version v ON (v.model_id, v.number) = (r.model_id, r.number) JOIN model m ON m.id = f.model_id
WHERE f.object_id = $1
ORDER BY 1, 2, 4 NULLS FIRST, 5
LIMIT $2

-- name: list_damaged
-- Damaged objects after an id, of a model or of all.
SELECT o.id, o.bucket, o.key, o.version_id, o.sha256, o.size, o.damaged_at, o.damage_code, o.damage_actual
FROM needed_object o
WHERE o.damaged_at IS NOT NULL AND o.id > $1 AND ($2::bigint IS NULL
    OR EXISTS (SELECT FROM version_file f WHERE f.object_id = o.id AND f.model_id = $2)
    OR EXISTS (SELECT FROM release_file f WHERE f.object_id = o.id AND f.model_id = $2))
ORDER BY o.id LIMIT $3

-- name: damaged_of_version
SELECT f.path, o.sha256, o.size, o.damaged_at, o.damage_code, o.damage_actual
FROM version_file f JOIN stored_object o ON o.id = f.object_id
WHERE f.model_id = $1 AND f.number = $2 AND o.damaged_at IS NOT NULL
ORDER BY f.path

-- repair ------------------------------------------------------------------------------------------------------------

-- name: repairable
-- Damaged objects that are needed, each with the newest other object that has their digest.
SELECT d.id AS damaged, good.*
FROM stored_object d
CROSS JOIN LATERAL (
    SELECT g.id, g.bucket, g.key, g.version_id, g.sha256, g.size FROM stored_object g
    WHERE g.sha256 = d.sha256 AND g.size = d.size AND g.id <> d.id AND g.damaged_at IS NULL AND g.freed_at IS NULL
    ORDER BY g.id DESC LIMIT 1
) AS good
WHERE d.damaged_at IS NOT NULL AND d.scrub_until < now() AND EXISTS (SELECT FROM needed_object n WHERE n.id = d.id)
ORDER BY d.id LIMIT $1

-- name: offer
-- Objects of publications that made no new version, where an object with their digest is damaged.
INSERT INTO stored_object (bucket, key, version_id, sha256, size, lock_mode, locked_until)
SELECT DISTINCT ON (bucket, key, version_id) bucket, key, version_id, sha256, size, lock_mode, locked_until
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[])
    AS new (bucket, key, version_id, sha256, size, lock_mode, locked_until)
WHERE EXISTS (
    SELECT FROM stored_object d WHERE d.sha256 = new.sha256 AND d.size = new.size AND d.damaged_at IS NOT NULL
)
ORDER BY bucket, key, version_id, locked_until DESC
ON CONFLICT (bucket, key, version_id) DO NOTHING

-- name: put_good
INSERT INTO stored_object AS o (bucket, key, version_id, sha256, size, lock_mode, locked_until)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (bucket, key, version_id) DO UPDATE
    SET locked_until = greatest(o.locked_until, excluded.locked_until),
        lock_mode = least(o.lock_mode, excluded.lock_mode), -- COMPLIANCE comes before GOVERNANCE, and is stricter
        condemned_at = NULL, freed_at = NULL, last_scrubbed_at = clock_timestamp(), scrub_error = NULL, scrub_failures = 0,
        damaged_at = NULL, damage_code = NULL, damage_actual = NULL
RETURNING id

-- name: move_files
WITH of_releases AS (
    UPDATE release_file SET object_id = $2 WHERE object_id = $1
)
UPDATE version_file SET object_id = $2 WHERE object_id = $1

-- passes ------------------------------------------------------------------------------------------------------------

-- name: open_run
SELECT id, model_id, requested_at FROM scrub_run WHERE finished_at IS NULL ORDER BY id LIMIT 1

-- name: start_run
INSERT INTO scrub_run (model_id, operator, requested_at, objects, size)
SELECT $1, $2, clock_timestamp(), count(*), coalesce(sum(size), 0)
FROM needed_object o
WHERE $1::bigint IS NULL
    OR EXISTS (SELECT FROM version_file f WHERE f.object_id = o.id AND f.model_id = $1)
    OR EXISTS (SELECT FROM release_file f WHERE f.object_id = o.id AND f.model_id = $1)
RETURNING id

-- name: count_open_runs
SELECT count(*) FROM (SELECT FROM scrub_run WHERE finished_at IS NULL LIMIT 100) AS open

-- name: run
SELECT r.id, m.name AS model, r.model_id, r.operator, r.requested_at, r.objects, r.size, r.finished_at
FROM scrub_run r LEFT JOIN model m ON m.id = r.model_id WHERE r.id = $1

-- name: list_runs
SELECT r.id, m.name AS model, r.operator, r.requested_at, r.objects, r.size, r.finished_at
FROM scrub_run r LEFT JOIN model m ON m.id = r.model_id ORDER BY r.id DESC LIMIT $1

-- name: left_of_run
-- What a pass has not read yet, with what of it is damaged or cannot be read.
SELECT count(*) FILTER (WHERE o.last_scrubbed_at < $1) AS objects,
       coalesce(sum(greatest(o.size - o.scrub_read, 0)) FILTER (WHERE o.last_scrubbed_at < $1), 0)::bigint AS size,
       count(*) FILTER (WHERE o.damaged_at IS NOT NULL) AS damaged,
       count(*) FILTER (WHERE o.scrub_error IS NOT NULL) AS waiting, max(o.scrub_error) AS last_error
FROM needed_object o
WHERE $2::bigint IS NULL
    OR EXISTS (SELECT FROM version_file f WHERE f.object_id = o.id AND f.model_id = $2)
    OR EXISTS (SELECT FROM release_file f WHERE f.object_id = o.id AND f.model_id = $2)

-- name: finish_run
UPDATE scrub_run SET finished_at = clock_timestamp()
WHERE id = $1 AND finished_at IS NULL AND NOT EXISTS (
    SELECT FROM needed_object o
    WHERE o.last_scrubbed_at < scrub_run.requested_at AND (scrub_run.model_id IS NULL
        OR EXISTS (SELECT FROM version_file f WHERE f.object_id = o.id AND f.model_id = scrub_run.model_id)
        OR EXISTS (SELECT FROM release_file f WHERE f.object_id = o.id AND f.model_id = scrub_run.model_id))
)
RETURNING id
