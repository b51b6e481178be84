-- Statements of evaluations, observations and divergence. '' stands for no dataset and no slice.

-- name: batch
SELECT b.id, b.number, v.id AS version_id, b.kind, b.count, b.sha256
FROM measurement_batch b JOIN version v ON (v.model_id, v.number) = (b.model_id, b.number)
WHERE b.id = $1

-- name: insert_batch
INSERT INTO measurement_batch (id, model_id, number, kind, count, sha256, operator, recorded_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: units
SELECT metric, unit FROM metric_unit WHERE model_id = $1 AND metric = ANY($2::text[])

-- name: insert_units
INSERT INTO metric_unit (model_id, metric, unit) SELECT $1, * FROM unnest($2::text[], $3::text[])

-- name: in_index_order
-- For one transaction. A table that has just grown has no statistics: the planner then takes hundreds of thousands of
-- rows for four and sorts them all. So a page is read in the order of an index, whatever it believes.
SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off;
SET LOCAL plan_cache_mode = force_custom_plan

-- name: measurements
-- The newest of each kind that is asked for, and of these the newest. Planned anew for what is asked for: each set of
-- filters has its index, and a plan for all of them would use none. `NULLS LAST` is the
-- order of these indexes, and not that of the primary key (migration 0141).
SELECT found.* FROM unnest($4::text[]) AS k (kind), LATERAL (
    SELECT m.seq, m.kind, m.metric, m.value, m.unit, m.dataset, m.slice, m.measured_at, m.recorded_at, m.operator,
           m.batch_id, m.number
    FROM measurement m
    WHERE m.model_id = $1 AND m.number = $2 AND m.kind = k.kind AND m.seq < $3
        AND ($5::text IS NULL OR m.dataset = $5) AND ($6::text IS NULL OR m.slice = $6)
        AND ($8::text IS NULL OR m.metric = $8)
    ORDER BY m.seq DESC NULLS LAST
    LIMIT $7
) AS found
ORDER BY found.seq DESC
LIMIT $7

-- name: manifest_of
SELECT manifest FROM version WHERE model_id = $1 AND number = $2

-- name: newest_evaluations
-- Steps from one metric, dataset and slice to the next: as many probes of the index as there are of them.
WITH RECURSIVE newest AS (
    (
        SELECT metric, dataset, slice, value FROM measurement
        WHERE model_id = $1 AND number = $2 AND kind = 'evaluation'
        ORDER BY metric, dataset, slice, measured_at DESC, seq DESC
        LIMIT 1
    )
    UNION ALL
    SELECT next.* FROM newest, LATERAL (
        SELECT m.metric, m.dataset, m.slice, m.value FROM measurement m
        WHERE m.model_id = $1 AND m.number = $2 AND m.kind = 'evaluation'
            AND (m.metric, m.dataset, m.slice) > (newest.metric, newest.dataset, newest.slice)
        ORDER BY m.metric, m.dataset, m.slice, m.measured_at DESC, m.seq DESC
        LIMIT 1
    ) AS next
)
SELECT metric, dataset, slice, value FROM newest

-- name: series_over_versions
-- The newest evaluation of each version, or what its manifest says (which names neither dataset nor slice). Of a
-- manifest only the part between two marks is parsed, not packages and files: the text is canonical, so `metrics` comes
-- right before `model`, quotes within strings are escaped, and no other field named `metrics` holds an object.
SELECT number, id, value, source, at FROM (
    SELECT v.number, v.id,
           coalesce(newest.value, said.value) AS value,
           CASE WHEN newest.value IS NULL THEN 'manifest' ELSE 'evaluation' END AS source,
           coalesce(newest.measured_at, v.committed_at) AS at
    FROM version v
    LEFT JOIN LATERAL (
        SELECT m.value, m.measured_at FROM measurement m
        WHERE m.model_id = v.model_id AND m.number = v.number AND m.kind = 'evaluation'
            AND m.metric = $2 AND m.dataset = $3 AND m.slice = $4
        ORDER BY m.measured_at DESC, m.seq DESC
        LIMIT 1
    ) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT (
            ('{' || split_part(split_part(convert_from(v.manifest, 'UTF8'), '"metrics":{', 2), '},"model":"', 1) || '}')
                ::json ->> $2
        )::double precision AS value
        WHERE newest.value IS NULL AND $3 = '' AND $4 = ''
    ) AS said ON true
    WHERE v.model_id = $1 AND v.number > $5
    ORDER BY v.number
) AS series
WHERE value IS NOT NULL
LIMIT $6

-- name: series_over_time
SELECT seq, value, measured_at, operator, batch_id FROM measurement
WHERE model_id = $1 AND number = $2 AND kind = 'observation' AND metric = $3 AND dataset = $4 AND slice = $5
    AND (measured_at, seq) > ($6, $7)
ORDER BY measured_at, seq
LIMIT $8

-- name: baseline_contract
SELECT p.number, v.id, p.moved_at, c.tolerances
FROM pointer p
JOIN version v ON (v.model_id, v.number) = (p.model_id, p.number)
JOIN contract c ON c.model_id = p.model_id
WHERE p.model_id = $1 AND p.name = 'baseline'

-- name: reference_values
-- For each metric, dataset and slice: the newest evaluation recorded up to a moment, and the first one after it.
SELECT k.metric, k.dataset, k.slice,
    (
        SELECT m.value FROM measurement m
        WHERE m.model_id = $1 AND m.number = $2 AND m.kind = 'evaluation'
            AND m.metric = k.metric AND m.dataset = k.dataset AND m.slice = k.slice AND m.recorded_at <= $3
        ORDER BY m.measured_at DESC, m.seq DESC
        LIMIT 1
    ) AS then,
    (
        SELECT m.value FROM measurement m
        WHERE m.model_id = $1 AND m.number = $2 AND m.kind = 'evaluation'
            AND m.metric = k.metric AND m.dataset = k.dataset AND m.slice = k.slice AND m.recorded_at > $3
        ORDER BY m.measured_at, m.seq
        LIMIT 1
    ) AS later
FROM unnest($4::text[], $5::text[], $6::text[]) AS k (metric, dataset, slice)

-- name: divergences_of_line
SELECT d.*, v.id AS first_id
FROM divergence d LEFT JOIN version v ON (v.model_id, v.number) = (d.model_id, d.first_number)
WHERE d.model_id = $1 AND d.line = $2

-- name: put_divergences
INSERT INTO divergence (model_id, line, metric, dataset, slice, state, baseline_number, reference, first_number,
                        first_at, judged_number, judged_at, held_number, held_at, value, changed_at)
SELECT $1, $2, metric, dataset, slice, state, $3, reference, first_number, first_at, judged_number, judged_at,
       held_number, held_at, value, $4
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::float8[], $10::bigint[], $11::timestamptz[],
            $12::bigint[], $13::timestamptz[], $14::bigint[], $15::timestamptz[], $16::float8[])
    AS new (metric, dataset, slice, state, reference, first_number, first_at, judged_number, judged_at,
            held_number, held_at, value)
ON CONFLICT (model_id, line, metric, dataset, slice) DO UPDATE SET
    state = excluded.state, baseline_number = excluded.baseline_number, reference = excluded.reference,
    first_number = excluded.first_number, first_at = excluded.first_at, judged_number = excluded.judged_number,
    judged_at = excluded.judged_at, held_number = excluded.held_number, held_at = excluded.held_at,
    value = excluded.value,
    changed_at = CASE WHEN divergence.state = excluded.state THEN divergence.changed_at ELSE excluded.changed_at END

-- name: divergences
SELECT d.line, d.metric, d.dataset, d.slice, d.state, d.baseline_number, d.reference, d.first_number,
       v.id AS first_id, d.first_at, d.judged_number, d.judged_at, d.value, d.changed_at
FROM divergence d LEFT JOIN version v ON (v.model_id, v.number) = (d.model_id, d.first_number)
WHERE d.model_id = $1 AND ($2::text IS NULL OR d.state = $2)
    AND ($3::text IS NULL OR (d.line, d.metric, d.dataset, d.slice) > ($3, $4, $5, $6))
ORDER BY d.line, d.metric, d.dataset, d.slice
LIMIT $7
