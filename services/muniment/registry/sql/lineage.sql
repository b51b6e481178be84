-- Statements of lineage, deployments, deletion and collection. Unqualified names: the search path is `registry`.
-- A step's rows: the node it starts at (`at_*`), the edge's kind, and the node it leads to, with facts of that node.

-- name: insert_sources
-- Datasets and code of versions, as their manifests give them.
WITH data AS (
    INSERT INTO version_dataset (model_id, number, name, digest, uri)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[])
)
INSERT INTO version_code (model_id, number, repository, commit)
SELECT * FROM unnest($6::bigint[], $7::bigint[], $8::text[], $9::text[])

-- steps -------------------------------------------------------------------------------------------------------------

-- name: above_versions
WITH at AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS at (model_id, number)
), said AS MATERIALIZED (
    SELECT at.model_id, at.number, convert_from(v.manifest, 'UTF8')::jsonb AS manifest
    FROM at JOIN version v USING (model_id, number)
), before AS (
    SELECT at.model_id AS at_model, at.number AS at_number, p.kind AS edge, v.*
    FROM at JOIN version_parent p USING (model_id, number) JOIN version v ON v.id = p.parent_id
    UNION ALL
    SELECT at.model_id, at.number, 'reproduces', v.*
    FROM at JOIN reproduction r USING (model_id, number) JOIN version v ON v.id = r.of_id
    UNION ALL
    SELECT at.model_id, at.number, 'previous', v.*
    FROM at JOIN version w USING (model_id, number)
    JOIN version v ON (v.model_id, v.number) = (w.model_id, w.previous_number)
    WHERE $3::boolean
)
SELECT b.at_model, b.at_number, b.edge, 'version' AS kind, m.name || '/' || b.number AS name, '' AS digest, b.model_id,
       b.number, jsonb_build_object('id', b.id, 'branch', b.branch, 'deleted', t.number IS NOT NULL) AS facts
FROM before b JOIN model m ON m.id = b.model_id LEFT JOIN tombstone t ON (t.model_id, t.number) = (b.model_id, b.number)
UNION ALL
SELECT d.model_id, d.number, 'trained-from', 'dataset', d.name, d.digest, NULL, NULL, jsonb_build_object('uri', d.uri)
FROM at JOIN version_dataset d USING (model_id, number)
UNION ALL
SELECT c.model_id, c.number, 'built-from', 'code', c.commit, '', NULL, NULL,
       jsonb_build_object('repository', c.repository)
FROM at JOIN version_code c USING (model_id, number)
UNION ALL
SELECT s.model_id, s.number, 'produced-by', 'run', s.manifest ->> 'run_id', '', NULL, NULL, '{}'
FROM said s WHERE s.manifest ? 'run_id'
UNION ALL
SELECT s.model_id, s.number, 'part-of', 'experiment', s.manifest ->> 'experiment_id', '', NULL, NULL, '{}'
FROM said s WHERE s.manifest ? 'experiment_id'
LIMIT $4

-- name: below_versions
WITH at AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS at (model_id, number)
), after AS (
    SELECT at.model_id AS at_model, at.number AS at_number, p.kind AS edge, v.*
    FROM at JOIN version w USING (model_id, number) JOIN version_parent p ON p.parent_id = w.id
    JOIN version v ON (v.model_id, v.number) = (p.model_id, p.number)
    UNION ALL
    SELECT at.model_id, at.number, 'reproduces', v.*
    FROM at JOIN version w USING (model_id, number) JOIN reproduction r ON r.of_id = w.id
    JOIN version v ON (v.model_id, v.number) = (r.model_id, r.number)
    UNION ALL
    SELECT at.model_id, at.number, 'previous', v.*
    FROM at JOIN version v ON v.model_id = at.model_id AND v.previous_number = at.number
    WHERE $3::boolean
), deployed AS (
    SELECT DISTINCT ON (d.model_id, d.number, d.environment, d.deployer) d.*
    FROM at JOIN deployment d USING (model_id, number)
    WHERE $5::timestamptz IS NULL OR d.at <= $5
    ORDER BY d.model_id, d.number, d.environment, d.deployer, d.at DESC, d.seq DESC
)
SELECT a.at_model, a.at_number, a.edge, 'version' AS kind, m.name || '/' || a.number AS name, '' AS digest, a.model_id,
       a.number, jsonb_build_object('id', a.id, 'branch', a.branch, 'deleted', t.number IS NOT NULL) AS facts
FROM after a JOIN model m ON m.id = a.model_id LEFT JOIN tombstone t ON (t.model_id, t.number) = (a.model_id, a.number)
WHERE $5::timestamptz IS NULL OR a.committed_at <= $5
UNION ALL
SELECT r.model_id, r.number, 'released-as', 'release', m.name || '@' || r.semver, '', NULL, NULL,
       jsonb_build_object('id', r.id)
FROM at JOIN release r USING (model_id, number) JOIN model m ON m.id = r.model_id
WHERE $5::timestamptz IS NULL OR r.released_at <= $5
UNION ALL
SELECT d.model_id, d.number, 'deployed-as', 'deployment',
       m.name || '/' || d.number || ' in ' || d.environment || ' by ' || d.deployer, '', NULL, NULL,
       jsonb_build_object(
           'environment', d.environment, 'deployer', d.deployer, 'state', d.state, 'release', d.semver, 'url', d.url,
           'current', NOT EXISTS (
               SELECT FROM deployment n
               WHERE (n.model_id, n.environment, n.deployer) = (d.model_id, d.environment, d.deployer)
                   AND (n.at, n.seq) > (d.at, d.seq) AND ($5::timestamptz IS NULL OR n.at <= $5)
           )
       )
FROM deployed d JOIN model m ON m.id = d.model_id
LIMIT $4

-- name: below_datasets
-- A dataset without a digest stands for all its states.
WITH at AS (
    SELECT * FROM unnest($1::text[], $2::text[]) AS at (name, digest)
), used AS (
    SELECT at.name AS at_name, at.digest AS at_digest, d.*
    FROM at JOIN version_dataset d ON d.name = at.name AND (at.digest = '' OR d.digest = at.digest)
    UNION ALL
    SELECT at.name, at.digest, d.*
    FROM at JOIN version_dataset d
        ON d.uri = at.name AND d.name <> at.name AND (at.digest = '' OR d.digest = at.digest)
)
SELECT u.at_name, u.at_digest, 'trained-from' AS edge, 'version' AS kind, m.name || '/' || v.number AS name,
       '' AS digest, v.model_id, v.number,
       jsonb_build_object('id', v.id, 'branch', v.branch, 'deleted', t.number IS NOT NULL) AS facts
FROM used u JOIN version v USING (model_id, number) JOIN model m ON m.id = v.model_id
LEFT JOIN tombstone t ON (t.model_id, t.number) = (v.model_id, v.number)
WHERE $3::timestamptz IS NULL OR v.committed_at <= $3
LIMIT $4

-- name: below_code
SELECT c.commit AS at_name, '' AS at_digest, 'built-from' AS edge, 'version' AS kind,
       m.name || '/' || v.number AS name, '' AS digest, v.model_id, v.number,
       jsonb_build_object('id', v.id, 'branch', v.branch, 'deleted', t.number IS NOT NULL) AS facts
FROM version_code c JOIN version v USING (model_id, number) JOIN model m ON m.id = v.model_id
LEFT JOIN tombstone t ON (t.model_id, t.number) = (v.model_id, v.number)
WHERE c.commit = ANY($1::text[]) AND ($2::timestamptz IS NULL OR v.committed_at <= $2)
LIMIT $3

-- name: runs_of_datasets
-- Runs elsewhere that have read (`input`) or written (`output`) datasets, by name or URI.
SELECT at.name AS at_name, at.digest AS at_digest, CASE e.way WHEN 'input' THEN 'read-by' ELSE 'written-by' END AS edge,
       'external-run' AS kind, e.run_id::text AS name, '' AS digest, NULL::bigint AS model_id, NULL::bigint AS number,
       jsonb_build_object('job', e.job) AS facts
FROM unnest($1::text[], $2::text[], $3::text[]) AS at (name, digest, uri)
JOIN external_edge e ON e.name IN (at.name, at.uri) AND (at.digest = '' OR e.digest IN ('', at.digest))
WHERE e.way = $4 AND ($5::timestamptz IS NULL OR e.occurred_at <= $5)
LIMIT $6

-- name: datasets_of_runs
SELECT e.run_id::text AS at_name, '' AS at_digest, CASE e.way WHEN 'input' THEN 'read-by' ELSE 'written-by' END AS edge,
       'dataset' AS kind, e.name, e.digest, NULL::bigint AS model_id, NULL::bigint AS number, '{}'::jsonb AS facts
FROM external_edge e
WHERE e.run_id = ANY($1::uuid[]) AND e.way = $2 AND ($3::timestamptz IS NULL OR e.occurred_at <= $3)
LIMIT $4

-- name: insert_external
INSERT INTO external_edge (run_id, job, way, name, digest, occurred_at, operator, cause)
SELECT $1, $2, way, name, digest, $6, $7, $8
FROM unnest($3::text[], $4::text[], $5::text[]) AS new (way, name, digest)
ON CONFLICT (run_id, way, name, digest) DO NOTHING
RETURNING way, name, digest

-- deployments -------------------------------------------------------------------------------------------------------

-- name: insert_deployment
INSERT INTO deployment
    (model_id, number, semver, environment, deployer, state, at, url, details, operator, reported_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
RETURNING seq

-- name: deployments_of_model
SELECT m.name AS model, d.number, d.semver AS release, d.environment, d.deployer, d.state, d.at, d.url, d.details,
       d.operator, d.reported_at
FROM (
    SELECT DISTINCT ON (environment, deployer) * FROM deployment
    WHERE model_id = $1 AND ($2::text IS NULL OR (environment, deployer) > ($2, $3::text))
    ORDER BY environment, deployer, at DESC, seq DESC
    LIMIT $4
) AS d JOIN model m ON m.id = d.model_id
ORDER BY d.environment, d.deployer

-- name: deployments_of_environment
SELECT d.model_id, m.name AS model, d.number, d.semver AS release, d.environment, d.deployer, d.state, d.at, d.url,
       d.details, d.operator, d.reported_at
FROM (
    SELECT DISTINCT ON (environment, model_id, deployer) * FROM deployment
    WHERE ($1::text IS NULL OR environment = $1)
        AND ($2::text IS NULL OR (environment, model_id, deployer) > ($2, $3::bigint, $4::text))
    ORDER BY environment, model_id, deployer, at DESC, seq DESC
    LIMIT $5
) AS d JOIN model m ON m.id = d.model_id
ORDER BY d.environment, d.model_id, d.deployer

-- deletion ----------------------------------------------------------------------------------------------------------

-- name: needed_by
-- What keeps a version from being deleted.
(SELECT 'branch' AS kind, name, NULL AS by FROM branch WHERE model_id = $1 AND head_number = $2 ORDER BY name LIMIT 100)
UNION ALL
(SELECT 'pointer', name, NULL FROM pointer WHERE model_id = $1 AND number = $2 ORDER BY name LIMIT 100)
UNION ALL
(SELECT 'deployment', d.environment, d.deployer
 FROM deployment d
 WHERE d.model_id = $1 AND d.number = $2 AND d.state IN ('started', 'running') AND NOT EXISTS (
     SELECT FROM deployment n
     WHERE (n.model_id, n.environment, n.deployer) = (d.model_id, d.environment, d.deployer)
         AND (n.at, n.seq) > (d.at, d.seq)
 )
 ORDER BY d.environment, d.deployer LIMIT 100)

-- name: bury
INSERT INTO tombstone (model_id, number, reason, operator, deleted_at) VALUES ($1, $2, $3, $4, $5)

-- name: deleted_among
SELECT number, deleted_at, operator AS deleted_by, reason AS deleted_reason
FROM tombstone WHERE model_id = $1 AND number = ANY($2::bigint[])

-- collection --------------------------------------------------------------------------------------------------------

-- name: collectable
-- Unlocked objects that no live version, no release and no waiting candidate refers to, after an id.
SELECT s.id, s.bucket, s.key, s.version_id, s.size FROM stored_object s
WHERE s.id > $1 AND s.locked_until < $2 AND s.freed_at IS NULL
    AND NOT EXISTS (SELECT FROM release_file r WHERE r.object_id = s.id)
    AND NOT EXISTS (
        SELECT FROM candidate c
        WHERE c.state = 'waiting' AND position(convert_to(s.version_id, 'UTF8') IN c.publication) > 0
    )
    AND NOT EXISTS (
        SELECT FROM version_file f
        WHERE f.object_id = s.id
            AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (f.model_id, f.number))
    )
ORDER BY s.id LIMIT $3

-- name: locked_garbage
-- What deleted versions alone refer to and a lock still holds.
SELECT count(*) AS objects, coalesce(sum(s.size), 0)::bigint AS size, min(s.locked_until) AS until
FROM (SELECT DISTINCT f.object_id FROM tombstone t JOIN version_file f USING (model_id, number)) AS buried
JOIN stored_object s ON s.id = buried.object_id
WHERE s.locked_until >= $1 AND s.freed_at IS NULL
    AND NOT EXISTS (SELECT FROM release_file r WHERE r.object_id = s.id)
    AND NOT EXISTS (
        SELECT FROM version_file f
        WHERE f.object_id = s.id
            AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (f.model_id, f.number))
    )

-- name: lock_objects
-- Never waits: a commit that holds one of them takes it up, and two that wait for each other cannot be.
SELECT id FROM stored_object WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED

-- name: condemn
-- Asked again now that the rows are held: a commit may have taken one up meanwhile.
UPDATE stored_object s SET condemned_at = $2
WHERE s.id = ANY($1::bigint[]) AND s.locked_until < $2 AND s.freed_at IS NULL
    AND NOT EXISTS (SELECT FROM release_file r WHERE r.object_id = s.id)
    AND NOT EXISTS (
        SELECT FROM candidate c
        WHERE c.state = 'waiting' AND position(convert_to(s.version_id, 'UTF8') IN c.publication) > 0
    )
    AND NOT EXISTS (
        SELECT FROM version_file f
        WHERE f.object_id = s.id
            AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (f.model_id, f.number))
    )
RETURNING s.id, s.bucket, s.key, s.version_id, s.size

-- name: still_condemned
SELECT id FROM stored_object WHERE id = ANY($1::bigint[]) AND condemned_at IS NOT NULL

-- name: free
UPDATE stored_object SET freed_at = $2 WHERE id = ANY($1::bigint[])

-- name: pardon
-- The store still holds these under a lock: until then nothing looks at them again.
UPDATE stored_object AS s SET condemned_at = NULL, locked_until = greatest(s.locked_until, held.until)
FROM unnest($1::bigint[], $2::timestamptz[]) AS held (id, until) WHERE s.id = held.id

-- name: swept_buckets
-- Of tracks, and whether one is in it now: a bucket that all have left may be gone.
SELECT bucket, bool_or(now) AS now FROM (
    SELECT bucket, true AS now FROM track WHERE bucket IS NOT NULL
    UNION ALL
    SELECT unnest(left_buckets), false FROM track
) AS known
GROUP BY bucket

-- name: unrecorded
-- Of these version-ids (and the digests in their keys): what no row has ever referred to, and no waiting candidate
-- will. A manifest's digest is its version's or release's id.
SELECT asked.key, asked.version_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS asked (bucket, key, version_id, sha256)
WHERE NOT EXISTS (
        SELECT FROM stored_object s
        WHERE (s.bucket, s.key, s.version_id) = (asked.bucket, asked.key, asked.version_id)
    )
    AND NOT EXISTS (
        SELECT FROM candidate c
        WHERE c.state = 'waiting' AND position(convert_to(asked.version_id, 'UTF8') IN c.publication) > 0
    )
    AND NOT EXISTS (
        SELECT FROM version v
        WHERE v.id = 'sha256:' || asked.sha256
            AND (v.manifest_bucket, v.manifest_key, v.manifest_version_id) = (asked.bucket, asked.key, asked.version_id)
    )
    AND NOT EXISTS (
        SELECT FROM release r
        WHERE r.id = 'sha256:' || asked.sha256
            AND (r.manifest_bucket, r.manifest_key, r.manifest_version_id) = (asked.bucket, asked.key, asked.version_id)
    )
