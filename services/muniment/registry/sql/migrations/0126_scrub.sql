-- migrate:up

ALTER TABLE stored_object
    -- When every byte was read last: by the scrubber, at first by the validator just before the row was made.
    ADD COLUMN last_scrubbed_at timestamptz NOT NULL DEFAULT now(),
    -- A scrubber has it until then; the epoch only grows and fences off whoever had it before.
    ADD COLUMN scrub_until timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN scrub_epoch bigint NOT NULL DEFAULT 0,
    -- Bytes that were read under this lease.
    ADD COLUMN scrub_read bigint NOT NULL DEFAULT 0,
    -- Why it could not be read the last time; no statement about the bytes.
    ADD COLUMN scrub_error text,
    ADD COLUMN damaged_at timestamptz,
    ADD COLUMN damage_code text CHECK (damage_code IN ('bytes_damaged', 'bytes_missing')),
    ADD COLUMN damage_actual text,
    ADD CHECK ((damaged_at IS NULL) = (damage_code IS NULL) AND (damaged_at IS NULL) = (damage_actual IS NULL));
CREATE INDEX stored_object_scrub ON stored_object (last_scrubbed_at, id) WHERE freed_at IS NULL;
CREATE INDEX stored_object_damaged ON stored_object (id) WHERE damaged_at IS NOT NULL;

-- What is kept and scrubbed: the objects of releases, and of versions that are not deleted.
CREATE VIEW needed_object AS
SELECT o.* FROM stored_object o
WHERE o.freed_at IS NULL AND (
    EXISTS (SELECT FROM release_file r WHERE r.object_id = o.id)
    OR EXISTS (
        SELECT FROM version_file f
        WHERE f.object_id = o.id
            AND NOT EXISTS (SELECT FROM tombstone t WHERE (t.model_id, t.number) = (f.model_id, f.number))
    )
);

-- One leaky bucket of bytes for all processes: what was taken and is not paid off by time yet. One row.
CREATE TABLE scrub_pace (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    debt double precision NOT NULL DEFAULT 0,
    at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO scrub_pace DEFAULT VALUES;

-- Passes that somebody asked for: everything (of a model) that was not read since `requested_at`.
CREATE TABLE scrub_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint REFERENCES model (id),
    operator text NOT NULL,
    requested_at timestamptz NOT NULL,
    objects bigint NOT NULL,
    size bigint NOT NULL,
    finished_at timestamptz
);
CREATE INDEX scrub_run_open ON scrub_run (id) WHERE finished_at IS NULL;

-- migrate:down
DROP TABLE scrub_run, scrub_pace;
DROP VIEW needed_object;
ALTER TABLE stored_object
    DROP COLUMN last_scrubbed_at, DROP COLUMN scrub_until, DROP COLUMN scrub_epoch, DROP COLUMN scrub_read,
    DROP COLUMN scrub_error, DROP COLUMN damaged_at, DROP COLUMN damage_code, DROP COLUMN damage_actual;
