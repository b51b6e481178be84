-- Statements of the checksum validator. Unqualified names: the search path is the schema `checksum_validator`.

-- name: add_jobs
INSERT INTO job (publication_id, model, trained, cause, bytes_total)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::bigint[])
ON CONFLICT (publication_id) DO NOTHING

-- name: lease
UPDATE job SET epoch = epoch + 1, attempts = attempts + 1, due_at = now() + make_interval(secs => $2)
WHERE publication_id IN (
    SELECT publication_id FROM job
    WHERE finished_at IS NULL AND due_at <= now()
    ORDER BY due_at, seq
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
RETURNING publication_id, trained, cause, epoch, attempts

-- name: next_due
SELECT extract(epoch FROM min(due_at) - now())::float8 FROM job WHERE finished_at IS NULL

-- name: renew
UPDATE job SET due_at = now() + make_interval(secs => $3), bytes_done = $4
WHERE publication_id = $1 AND epoch = $2 AND finished_at IS NULL
RETURNING publication_id

-- name: finish
UPDATE job SET finished_at = now(), verdict = done.verdict, bytes_done = bytes_total
FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS done (publication_id, epoch, verdict)
WHERE job.publication_id = done.publication_id AND job.epoch = done.epoch AND job.finished_at IS NULL
RETURNING job.publication_id

-- name: put_off
UPDATE job SET due_at = now() + make_interval(secs => $3), last_error = $4
WHERE publication_id = $1 AND epoch = $2 AND finished_at IS NULL

-- name: give_back
UPDATE job SET due_at = now()
FROM unnest($1::uuid[], $2::bigint[]) AS mine (publication_id, epoch)
WHERE job.publication_id = mine.publication_id AND job.epoch = mine.epoch AND job.finished_at IS NULL

-- name: prune_jobs
DELETE FROM job WHERE publication_id IN (
    SELECT publication_id FROM job WHERE finished_at < $1 ORDER BY finished_at LIMIT $2
)
