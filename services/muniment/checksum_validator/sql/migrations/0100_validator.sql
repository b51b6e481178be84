-- migrate:up
-- Large work does not sit in an event handler: the handler writes a job, workers lease jobs.
-- `due_at` is when a job may be leased: after a back-off, or when a lease ran out. `epoch` counts the leases: only the
-- holder of the newest one can finish the job.
CREATE TABLE job (
    publication_id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    model text NOT NULL,
    trained bytea NOT NULL,
    cause text NOT NULL,
    bytes_total bigint NOT NULL,
    bytes_done bigint NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    epoch bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    verdict text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX job_due ON job (due_at, seq) WHERE finished_at IS NULL;

-- migrate:down
DROP TABLE job;
