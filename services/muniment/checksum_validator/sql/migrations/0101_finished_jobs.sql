-- migrate:up
-- Pruning finds what is old without reading what is not.
CREATE INDEX job_finished ON job (finished_at) WHERE finished_at IS NOT NULL;

-- migrate:down
DROP INDEX job_finished;
