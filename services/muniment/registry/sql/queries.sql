-- Statements of the registry. Unqualified names: the search path is the schema `registry`.

-- name: put_track
INSERT INTO track (name, lock_mode, retention_s) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING

-- name: tracks
SELECT name, lock_mode, retention_s, bucket, formats, checks, signature_required FROM track

-- name: standing
-- How a model stands to a publication: its name, the branch, whether this very version was deleted, and whether it is
-- of the branch already or its head, so that nothing would move.
SELECT m.name, b.closed_at IS NOT NULL AS closed, coalesce(b.protected, false) AS protected,
       EXISTS (SELECT FROM pointer p WHERE p.model_id = m.id AND p.name = $2) AS is_pointer,
       (SELECT t.number FROM version v JOIN tombstone t USING (model_id, number) WHERE v.id = $3) AS deleted_number,
       EXISTS (
           SELECT FROM version v
           WHERE v.id = $3 AND v.model_id = m.id AND (v.branch = $2 OR v.number = b.head_number)
       ) AS is_there
FROM model m LEFT JOIN branch b ON b.model_id = m.id AND b.name = $2
WHERE m.name_key = $1

-- name: create_models
INSERT INTO model (name_key, name, created_at, created_by)
SELECT key, name, $4, operator FROM unnest($1::text[], $2::text[], $3::text[]) AS new (key, name, operator)
ORDER BY key
ON CONFLICT (name_key) DO NOTHING
RETURNING id

-- name: lock_models
SELECT id, name, name_key, last_number FROM model WHERE name_key = ANY($1::text[]) ORDER BY name_key FOR UPDATE

-- name: versions_by_id
SELECT v.id, v.model_id, m.name AS model, v.number, v.branch, v.committed_at, v.track, v.operator,
       EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (v.model_id, v.number)) AS deleted
FROM version v JOIN model m ON m.id = v.model_id
WHERE v.id = ANY($1::text[])

-- name: heads
-- Of the branches with these names, and the pointers that have one of them.
SELECT b.model_id, b.name, b.head_number, v.id AS head_id, b.closed_at IS NOT NULL AS closed, b.protected
FROM branch b JOIN version v ON (v.model_id, v.number) = (b.model_id, b.head_number)
WHERE b.model_id = ANY($1::bigint[]) AND b.name = ANY($2::text[])
UNION ALL
SELECT model_id, name, NULL, NULL, false, false FROM pointer
WHERE model_id = ANY($1::bigint[]) AND name = ANY($2::text[])

-- name: insert_versions
WITH new AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::uuid[], $5::text[], $6::bigint[], $7::text[],
                         $8::text[], $9::text[], $10::text[], $11::bytea[], $12::text[], $13::text[],
                         $14::timestamptz[], $15::bigint[], $16::integer[], $17::text[], $20::text[])
        AS new (model_id, number, id, publication_id, branch, previous_number, stability, track, operator,
                authenticated_by, manifest, manifest_key, manifest_version_id, manifest_locked_until, size_bytes,
                file_count, description, tags)
), numbered AS (
    UPDATE model SET last_number = last.number
    FROM (SELECT model_id, max(number) AS number FROM new GROUP BY model_id) AS last
    WHERE model.id = last.model_id
)
INSERT INTO version
    (model_id, number, id, publication_id, branch, previous_number, stability, track, operator, authenticated_by,
     committed_at, manifest, manifest_bucket, manifest_key, manifest_version_id, manifest_locked_until, size_bytes,
     file_count, description, tags)
SELECT model_id, number, id, publication_id, branch, previous_number, stability, track, operator, authenticated_by,
       $18, manifest, $19, manifest_key, manifest_version_id, manifest_locked_until, size_bytes, file_count,
       description, tags::jsonb
FROM new

-- name: insert_files
WITH new AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[],
                         $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[])
        AS new (bucket, key, version_id, sha256, size, lock_mode, locked_until, model_id, number, path, format, role)
), stored AS (
    INSERT INTO stored_object AS o (bucket, key, version_id, sha256, size, lock_mode, locked_until)
    SELECT DISTINCT ON (bucket, key, version_id) bucket, key, version_id, sha256, size, lock_mode, locked_until
    FROM new
    ORDER BY bucket, key, version_id, locked_until DESC
    ON CONFLICT (bucket, key, version_id) DO UPDATE
        SET locked_until = greatest(o.locked_until, excluded.locked_until), condemned_at = NULL
    RETURNING id, bucket, key, version_id
)
INSERT INTO version_file (model_id, number, path, object_id, format, role)
SELECT new.model_id, new.number, new.path, stored.id, new.format, new.role
FROM new JOIN stored USING (bucket, key, version_id)

-- name: insert_parents
INSERT INTO version_parent (model_id, number, parent_id, kind)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])

-- name: move_heads
WITH moved AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
        WITH ORDINALITY AS moved (model_id, branch, from_number, to_number, operator, cause, place)
), last AS (
    SELECT DISTINCT ON (model_id, branch) * FROM moved ORDER BY model_id, branch, place DESC
), heads AS (
    INSERT INTO branch (model_id, name, head_number, created_at, created_by)
    SELECT model_id, branch, to_number, $7, operator FROM last
    ON CONFLICT (model_id, name) DO UPDATE SET head_number = excluded.head_number
)
INSERT INTO branch_move (model_id, branch, from_number, to_number, operator, cause, moved_at)
SELECT model_id, branch, from_number, to_number, operator, cause, $7 FROM moved ORDER BY place

-- name: insert_candidate
INSERT INTO candidate (publication_id, model, operator, publication, validated_at)
SELECT *, $5::timestamptz FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])
ON CONFLICT (publication_id) DO NOTHING

-- name: candidates
-- The newest of each of these states, and of these the newest: each state is read in the order of its index.
-- `NULLS LAST`: not in that of seq alone, which would be read through for a state that has no row.
SELECT found.* FROM unnest($2::text[]) AS of (state), LATERAL (
    SELECT seq, publication_id, model, operator, state, publication, validated_at, decided_at, decided_by, reason, version_id
    FROM candidate c
    WHERE c.state = of.state AND c.seq < $1
    ORDER BY c.seq DESC NULLS LAST
    LIMIT $3
) AS found
ORDER BY found.seq DESC
LIMIT $3

-- name: candidates_of_model
SELECT found.* FROM unnest($2::text[]) AS of (state), LATERAL (
    SELECT seq, publication_id, model, operator, state, publication, validated_at, decided_at, decided_by, reason, version_id
    FROM candidate c
    WHERE c.model = $4 AND c.state = of.state AND c.seq < $1
    ORDER BY c.seq DESC NULLS LAST
    LIMIT $3
) AS found
ORDER BY found.seq DESC
LIMIT $3

-- name: candidate
SELECT publication_id, model, operator, state, publication, validated_at, decided_at, decided_by, reason, version_id
FROM candidate WHERE publication_id = $1

-- name: lock_candidate
SELECT publication_id, state, version_id FROM candidate WHERE publication_id = $1 FOR UPDATE

-- name: decide_candidate
UPDATE candidate SET state = $2, decided_at = $3, decided_by = $4, reason = $5, version_id = $6
WHERE publication_id = $1

-- name: list_models
SELECT m.name, m.name_key, m.created_at, m.created_by, m.last_number AS versions, v.id AS newest_id,
       v.committed_at AS newest_at, v.branch AS newest_branch
FROM model m LEFT JOIN version v ON (v.model_id, v.number) = (m.id, m.last_number)
WHERE m.name_key > $1
ORDER BY m.name_key
LIMIT $2

-- name: model
SELECT id, name, name_key, created_at, created_by, last_number AS versions FROM model WHERE name_key = $1

-- name: branches
SELECT b.name, b.head_number, v.id AS head_id, b.created_at, b.created_by, v.committed_at AS moved_at
FROM branch b JOIN version v ON (v.model_id, v.number) = (b.model_id, b.head_number)
WHERE b.model_id = $1 AND b.name > $2
ORDER BY b.name
LIMIT $3

-- name: numbers_by_prefix
SELECT number FROM version WHERE model_id = $1 AND id LIKE $2 || '%' ORDER BY number LIMIT 2

-- name: list_versions
SELECT number, id, branch, previous_number, stability, track, operator, committed_at, size_bytes, file_count,
       description, tags, publication_id
FROM version
WHERE model_id = $1 AND ($2::bigint IS NULL OR number < $2) AND ($4::timestamptz IS NULL OR committed_at <= $4)
ORDER BY number DESC
LIMIT $3

-- name: list_versions_of_branch
SELECT number, id, branch, previous_number, stability, track, operator, committed_at, size_bytes, file_count,
       description, tags, publication_id
FROM version
WHERE model_id = $1 AND branch = $5 AND ($2::bigint IS NULL OR number < $2)
    AND ($4::timestamptz IS NULL OR committed_at <= $4)
ORDER BY number DESC
LIMIT $3

-- name: walk_log
WITH RECURSIVE line AS (
    SELECT v.*, 1 AS step FROM version v WHERE v.model_id = $1 AND v.number = $2
    UNION ALL
    SELECT v.*, line.step + 1
    FROM line JOIN version v ON v.model_id = line.model_id AND v.number = line.previous_number
    WHERE line.step < $3
)
SELECT number, id, branch, previous_number, stability, track, operator, committed_at, size_bytes, file_count,
       description, tags, publication_id
FROM line ORDER BY step

-- name: states_then
-- What may change on versions $2, as it was at $3: `texts` (`description`, `tags`) where they have changed since, and
-- whether the version was stable.
SELECT n.number,
       (SELECT r.before FROM reversible r
        WHERE r.model_id = $1 AND r.action = 'version.described' AND r.target = n.number::text AND r.changed_at > $3
        ORDER BY r.changed_at LIMIT 1) AS texts,
       EXISTS (SELECT FROM pointer_move p
               WHERE p.model_id = $1 AND p.name = 'baseline' AND p.verb = 'promote' AND p.to_number = n.number
                   AND p.moved_at <= $3)
           OR EXISTS (SELECT FROM release r
                      WHERE r.model_id = $1 AND r.number = n.number AND NOT r.prerelease AND r.released_at <= $3)
           AS stable
FROM unnest($2::bigint[]) AS n (number)

-- name: previous_number
SELECT previous_number FROM version WHERE model_id = $1 AND number = $2

-- name: version
-- By the model's key and a number, or a name: a branch, a pointer or a release (they share one namespace).
-- The columns of the release are there where the name is one; beside a number it only adds them.
SELECT m.id AS model_id, m.name AS model, v.number, v.id, v.branch, v.previous_number, p.id AS previous_id,
       v.stability, v.track, v.operator, v.committed_at, v.size_bytes, v.file_count, v.description, v.tags,
       v.publication_id, v.manifest, v.manifest_bucket, v.manifest_key, v.manifest_version_id,
       v.manifest_locked_until, t.deleted_at, t.reason AS deleted_reason, t.operator AS deleted_by,
       EXISTS (SELECT FROM reproduction d WHERE d.model_id = v.model_id AND d.number = v.number)
           OR EXISTS (SELECT FROM reproduction d WHERE d.of_id = v.id) AS in_reproductions,
       EXISTS (SELECT FROM version_signature s WHERE (s.model_id, s.number) = (v.model_id, v.number)) AS signed,
       r.semver AS release, r.id AS release_id, r.track AS release_track, r.copy AS release_copy, r.released_at,
       r.manifest AS release_manifest, r.manifest_bucket AS release_manifest_bucket,
       r.manifest_key AS release_manifest_key, r.manifest_version_id AS release_manifest_version_id
FROM model m
LEFT JOIN release r ON r.model_id = m.id AND r.semver = $3
JOIN version v ON v.model_id = m.id
    AND v.number = coalesce(
        $2,
        (SELECT b.head_number FROM branch b WHERE b.model_id = m.id AND b.name = $3),
        (SELECT q.number FROM pointer q WHERE q.model_id = m.id AND q.name = $3),
        r.number
    )
LEFT JOIN version p ON p.model_id = v.model_id AND p.number = v.previous_number
LEFT JOIN tombstone t ON t.model_id = v.model_id AND t.number = v.number
WHERE m.name_key = $1

-- name: named
-- What a name of a model means: its kind and the version's number.
SELECT 'branch' AS kind, head_number AS number FROM branch WHERE model_id = $1 AND name = $2
UNION ALL
SELECT 'pointer', number FROM pointer WHERE model_id = $1 AND name = $2
UNION ALL
SELECT 'release', number FROM release WHERE model_id = $1 AND semver = $2

-- name: named_then
-- The same as of a moment.
SELECT * FROM (
    SELECT 'branch' AS kind, to_number AS number FROM branch_move
    WHERE model_id = $1 AND branch = $2 AND moved_at <= $3 ORDER BY seq DESC LIMIT 1
) AS branch
UNION ALL
SELECT * FROM (
    SELECT 'pointer', to_number FROM pointer_move
    WHERE model_id = $1 AND name = $2 AND moved_at <= $3 ORDER BY seq DESC LIMIT 1
) AS pointer
UNION ALL
SELECT 'release', number FROM release WHERE model_id = $1 AND semver = $2 AND released_at <= $3

-- name: last_number_then
-- Times rise with numbers unless a clock was put back. So the newest by time is looked up, and then, as long as there
-- is one among the next 1,000 numbers, a later one that is as old.
WITH RECURSIVE found (number) AS (
    (
        SELECT number FROM version WHERE model_id = $1 AND committed_at <= $2
        ORDER BY committed_at DESC, number DESC LIMIT 1
    )
    UNION ALL
    SELECT later.number FROM found, LATERAL (
        SELECT v.number FROM version v
        WHERE v.model_id = $1 AND v.number > found.number AND v.number <= found.number + 1000 AND v.committed_at <= $2
        ORDER BY v.number DESC LIMIT 1
    ) AS later
)
SELECT max(number) FROM found

-- name: names
-- Some of what a model's references may be, for error messages: pointers, main and the other branches, the highest
-- releases.
SELECT name, kind FROM (
    (SELECT name, 0 AS place, 'pointer' AS kind, '\x'::bytea AS precedence
     FROM pointer WHERE model_id = $1 ORDER BY name LIMIT 10)
    UNION ALL
    (SELECT name, (name <> 'main')::int + 1, 'branch', '\x' FROM branch WHERE model_id = $1
     ORDER BY name <> 'main', name LIMIT 20)
    UNION ALL
    (SELECT semver, 3, 'release', precedence FROM release WHERE model_id = $1 ORDER BY precedence DESC LIMIT 5)
) AS known ORDER BY place, precedence DESC, name

-- name: names_then
-- The same as of a moment.
SELECT name, kind FROM (
    (SELECT name, 0 AS place, 'pointer' AS kind, '\x'::bytea AS precedence FROM (
        SELECT DISTINCT ON (name) name, to_number FROM pointer_move
        WHERE model_id = $1 AND moved_at <= $2 ORDER BY name, seq DESC
     ) AS moved WHERE to_number IS NOT NULL LIMIT 10)
    UNION ALL
    (SELECT name, (name <> 'main')::int + 1, 'branch', '\x' FROM branch WHERE model_id = $1 AND created_at <= $2
     ORDER BY name <> 'main', name LIMIT 20)
    UNION ALL
    (SELECT semver, 3, 'release', precedence FROM release WHERE model_id = $1 AND released_at <= $2
     ORDER BY precedence DESC LIMIT 5)
) AS known ORDER BY place, precedence DESC, name

-- name: files
SELECT f.path, f.format, f.role, o.sha256, o.size, o.bucket, o.key, o.version_id, o.lock_mode, o.locked_until,
       o.damaged_at, o.damage_code, o.damage_actual
FROM version_file f JOIN stored_object o ON o.id = f.object_id
WHERE f.model_id = $1 AND f.number = $2
ORDER BY f.path

-- name: parents
SELECT p.parent_id AS id, p.kind, m.name AS model, v.number
FROM version_parent p
JOIN version v ON v.id = p.parent_id JOIN model m ON m.id = v.model_id
WHERE p.model_id = $1 AND p.number = $2
ORDER BY p.parent_id

-- name: locks_ending
-- Picks the batch first: when many locks end together, each batch would join and sort all of them. An object that
-- versions and releases of several tracks refer to is kept by the longest retention of all.
SELECT o.id, o.bucket, o.key, o.version_id, o.lock_mode,
       max(greatest(t.retention_s, t.longest_retention_s)) AS retention_s
FROM (
    SELECT * FROM stored_object AS s
    -- What is gone cannot be locked, and must not keep the others from it: the scrubber sees to that.
    WHERE s.locked_until < $1 AND s.damage_code IS DISTINCT FROM 'bytes_missing' AND (
        EXISTS (SELECT FROM release_file AS r WHERE r.object_id = s.id)
        OR EXISTS (
            SELECT FROM version_file AS f
            WHERE f.object_id = s.id
                AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (f.model_id, f.number))
        )
    )
    ORDER BY s.locked_until LIMIT $2
) AS o
JOIN LATERAL (
    SELECT v.track FROM version_file f JOIN version v ON (v.model_id, v.number) = (f.model_id, f.number)
    WHERE f.object_id = o.id
    UNION
    SELECT r.track FROM release_file f JOIN release r ON (r.model_id, r.semver) = (f.model_id, f.semver)
    WHERE f.object_id = o.id
) AS used ON true
JOIN track t ON t.name = used.track
GROUP BY o.id, o.bucket, o.key, o.version_id, o.lock_mode, o.locked_until
ORDER BY o.locked_until

-- name: extend_lock
UPDATE stored_object SET locked_until = greatest(locked_until, $2) WHERE id = $1

-- name: manifest_locks_ending
-- Of versions and of releases; an id is that of one of them.
SELECT * FROM (
    (SELECT v.id, v.manifest_bucket AS bucket, v.manifest_key AS key, v.manifest_version_id AS version_id,
            t.lock_mode, greatest(t.retention_s, t.longest_retention_s) AS retention_s, v.manifest_locked_until AS ending
     FROM version v JOIN track t ON t.name = v.track
     WHERE v.manifest_locked_until < $1
     ORDER BY v.manifest_locked_until LIMIT $2)
    UNION ALL
    (SELECT r.id, r.manifest_bucket, r.manifest_key, r.manifest_version_id,
            t.lock_mode, greatest(t.retention_s, t.longest_retention_s), r.manifest_locked_until
     FROM release r JOIN track t ON t.name = r.track
     WHERE r.manifest_locked_until < $1
     ORDER BY r.manifest_locked_until LIMIT $2)
) AS found
ORDER BY ending
LIMIT $2

-- name: extend_manifest_lock
WITH released AS (
    UPDATE release SET manifest_locked_until = greatest(manifest_locked_until, $2) WHERE id = $1
)
UPDATE version SET manifest_locked_until = greatest(manifest_locked_until, $2) WHERE id = $1

-- name: baselines
-- With the metrics of their manifests, of which only the part between two marks is parsed: `series_over_versions` in
-- measurements.sql says why that is safe.
SELECT p.model_id, p.number, v.id, c.tolerances,
       '{' || split_part(split_part(convert_from(v.manifest, 'UTF8'), '"metrics":{', 2), '},"model":"', 1) || '}' AS metrics
FROM pointer p
JOIN version v ON (v.model_id, v.number) = (p.model_id, p.number)
LEFT JOIN contract c ON c.model_id = p.model_id
WHERE p.model_id = ANY($1::bigint[]) AND p.name = 'baseline'
