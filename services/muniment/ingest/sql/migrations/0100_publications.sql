-- migrate:up

-- One attempt to turn a finished training run into a version. The id is derived from what must be unique (the event's
-- source and id, or the operator and the idempotency key), so the primary key is the whole of idempotency.
CREATE TABLE publication (
    id uuid PRIMARY KEY,
    position bigint GENERATED ALWAYS AS IDENTITY,
    event_source text,
    event_id text,
    idempotency_key text,
    model text NOT NULL,
    branch text NOT NULL,
    commit_mode text NOT NULL CHECK (commit_mode IN ('auto', 'manual')),
    track text,
    stage text NOT NULL CHECK (
        stage IN ('uploading', 'trained', 'validating', 'candidate', 'committed', 'rejected', 'abandoned')
    ),
    rank smallint NOT NULL CHECK (rank BETWEEN 0 AND 4),
    operator text NOT NULL,
    authenticated_by text NOT NULL,
    declaration bytea NOT NULL,
    declaration_sha256 text NOT NULL,
    files jsonb NOT NULL,
    history jsonb NOT NULL,
    version jsonb,
    rejection jsonb,
    bytes_done bigint,
    bytes_total bigint,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 80);

COMMENT ON COLUMN publication.position IS 'order of lists; no clock decides it';
COMMENT ON COLUMN publication.rank IS 'of the stage (muniment.ingest.stages): it only rises, and 4 is final';
COMMENT ON COLUMN publication.declaration IS 'JSON of what the publisher declared; read back on complete';
COMMENT ON COLUMN publication.files IS 'files whose version-id is pinned, as in model-trained';
COMMENT ON COLUMN publication.history IS 'one object per stage that was reached: stage, at, cause';

CREATE UNIQUE INDEX publication_position ON publication (position);
CREATE INDEX publication_model ON publication (lower(model), position);
CREATE INDEX publication_stage ON publication (stage, position);
CREATE INDEX publication_uploading ON publication (created_at) WHERE stage = 'uploading';

-- What is shown of a publication: without the wide columns.
CREATE VIEW publication_summary AS
SELECT
    id, position, model, branch, commit_mode, track, stage, operator, authenticated_by, history, version, rejection,
    bytes_done, bytes_total, created_at, updated_at
FROM publication;

-- One object that a publisher is to upload. Rows go when the publication's upload is complete or cleaned up.
CREATE TABLE upload (
    publication_id uuid NOT NULL REFERENCES publication (id) ON DELETE CASCADE,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    bucket text NOT NULL,
    key text NOT NULL,
    part_size bigint,
    upload_id text,
    version_id text,
    PRIMARY KEY (publication_id, sha256)
);

COMMENT ON COLUMN upload.part_size IS 'bytes of each part; null: the file goes up in one PUT';
COMMENT ON COLUMN upload.version_id IS 'the store has the whole object under this version-id';

-- Bytes of committed versions, so that equal files need no second upload. Learnt from version-available; a hint that
-- is checked with the store before it is believed.
CREATE TABLE held_blob (
    sha256 text PRIMARY KEY,
    size bigint NOT NULL,
    bucket text NOT NULL,
    key text NOT NULL,
    version_id text NOT NULL
);

-- migrate:down
DROP TABLE held_blob;
DROP TABLE upload;
DROP VIEW publication_summary;
DROP TABLE publication;
