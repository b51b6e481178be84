-- migrate:up

-- What else a track rules over: its bucket (none: the default one), the formats it takes (none: any), and the checks
-- that a version must have passed to be released into it or promoted on it.
ALTER TABLE track
    ADD COLUMN bucket text,
    ADD COLUMN formats text[],
    ADD COLUMN checks text[] NOT NULL DEFAULT '{}',
    -- A shorter retention is for later versions alone: what is kept goes on being kept for the longest there was.
    ADD COLUMN longest_retention_s bigint NOT NULL DEFAULT 0,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN created_by text NOT NULL DEFAULT 'muniment|registry',
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN changed_by text;

CREATE INDEX release_manifest_lock_end ON release (manifest_locked_until);

-- migrate:down
DROP INDEX release_manifest_lock_end;
ALTER TABLE track
    DROP COLUMN bucket, DROP COLUMN formats, DROP COLUMN checks, DROP COLUMN longest_retention_s,
    DROP COLUMN created_at, DROP COLUMN created_by, DROP COLUMN changed_at, DROP COLUMN changed_by;
