-- Statements of the walk over stored manifests. Unqualified names: the search path is the schema `registry`.

-- name: try_turn
SELECT pg_try_advisory_lock(hashtextextended('muniment manifest scrubber of ' || current_schema(), 0))

-- name: end_turn
SELECT pg_advisory_unlock(hashtextextended('muniment manifest scrubber of ' || current_schema(), 0))

-- name: round
SELECT after_id, started_at, finished_at, rest_until > clock_timestamp() AS rests,
       (SELECT max(requested_at) FROM scrub_run) AS asked_at
FROM manifest_round

-- name: begin_round
UPDATE manifest_round
SET after_id = '', started_at = clock_timestamp(), finished_at = NULL, failures = 0, rest_until = '-infinity'

-- name: move_round
UPDATE manifest_round SET after_id = $1, failures = 0, rest_until = '-infinity'

-- name: put_off
-- The manifest could not be read: the walk rests, longer each time, and begins with it again.
UPDATE manifest_round
SET failures = failures + 1, rest_until = clock_timestamp() + make_interval(secs => 5 * 4.0 ^ least(failures, 3))
RETURNING failures

-- name: other
-- Something else that the store must be able to give: another manifest, or a small object where there is none.
(SELECT v.manifest_bucket AS bucket, v.manifest_key AS key, v.manifest_version_id AS version_id
 FROM version v
 WHERE v.id <> $1 AND NOT EXISTS (SELECT FROM manifest_damage d WHERE d.id = v.id)
    AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (v.model_id, v.number))
 LIMIT 1)
UNION ALL
(SELECT o.bucket, o.key, o.version_id FROM stored_object o
 WHERE o.freed_at IS NULL AND o.damaged_at IS NULL AND o.size <= $2
 LIMIT 1)
LIMIT 1

-- name: finish_round
UPDATE manifest_round SET finished_at = clock_timestamp()

-- name: manifests_after
-- Of versions that are not deleted and of releases, $2 after an id, with what is known of their damage.
SELECT found.*, d.damaged_at, d.damage_actual
FROM (
    (SELECT v.id, m.name AS model, v.number, v.id AS version, NULL::text AS release, length(v.manifest) AS size,
            v.manifest_bucket AS bucket, v.manifest_key AS key, v.manifest_version_id AS version_id
     FROM version v JOIN model m ON m.id = v.model_id
     WHERE v.id > $1 AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (v.model_id, v.number))
     ORDER BY v.id LIMIT $2)
    UNION ALL
    (SELECT r.id, m.name, r.number, v.id, r.semver, length(r.manifest), r.manifest_bucket, r.manifest_key,
            r.manifest_version_id
     FROM release r JOIN model m ON m.id = r.model_id JOIN version v ON (v.model_id, v.number) = (r.model_id, r.number)
     WHERE r.id > $1
     ORDER BY r.id LIMIT $2)
) AS found
LEFT JOIN manifest_damage d ON d.id = found.id
ORDER BY found.id
LIMIT $2

-- name: add_damage
INSERT INTO manifest_damage (id, damaged_at, damage_code, damage_actual) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO NOTHING RETURNING id

-- name: end_damage
DELETE FROM manifest_damage WHERE id = $1 RETURNING id

-- name: damaged
SELECT count(*) FROM manifest_damage
