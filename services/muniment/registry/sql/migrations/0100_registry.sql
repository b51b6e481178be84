-- migrate:up
CREATE TABLE track (
    name text PRIMARY KEY,
    lock_mode text NOT NULL CHECK (lock_mode IN ('COMPLIANCE', 'GOVERNANCE')),
    retention_s bigint NOT NULL CHECK (retention_s > 0)
);

CREATE TABLE model (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name_key text NOT NULL UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    -- The number given last. Numbers are never reused, so this only grows.
    last_number bigint NOT NULL DEFAULT 0
);

CREATE TABLE version (
    model_id bigint NOT NULL REFERENCES model (id),
    number bigint NOT NULL CHECK (number > 0),
    id text NOT NULL UNIQUE,
    publication_id uuid NOT NULL UNIQUE,
    branch text NOT NULL,
    -- The head of the branch before this version: history, no part of the id.
    previous_number bigint,
    stability text NOT NULL,
    track text NOT NULL REFERENCES track (name),
    operator text NOT NULL,
    authenticated_by text NOT NULL,
    committed_at timestamptz NOT NULL,
    -- The canonical text whose SHA-256 is the id.
    manifest bytea NOT NULL,
    manifest_bucket text NOT NULL,
    manifest_key text NOT NULL,
    manifest_version_id text NOT NULL,
    manifest_locked_until timestamptz NOT NULL,
    size_bytes bigint NOT NULL,
    file_count integer NOT NULL,
    description text,
    tags jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (model_id, number),
    FOREIGN KEY (model_id, previous_number) REFERENCES version (model_id, number)
);
-- A unique prefix of an id finds its version (LIKE 'sha256:ab12cd34%').
CREATE INDEX version_id_prefix ON version (id text_pattern_ops);
CREATE INDEX version_of_branch ON version (model_id, branch, number DESC);
CREATE INDEX version_manifest_lock_end ON version (manifest_locked_until);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a version is immutable: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER version_is_immutable BEFORE UPDATE OF
    model_id, number, id, publication_id, branch, previous_number, operator, committed_at, manifest,
    manifest_bucket, manifest_key, manifest_version_id, size_bytes, file_count
ON version FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER version_stays BEFORE DELETE ON version FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER version_table_stays BEFORE TRUNCATE ON version EXECUTE FUNCTION refuse_change();

-- Locked bytes: one row for each version-id that a version refers to.
CREATE TABLE stored_object (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bucket text NOT NULL,
    key text NOT NULL,
    version_id text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    lock_mode text NOT NULL,
    locked_until timestamptz NOT NULL,
    UNIQUE (bucket, key, version_id)
);
CREATE INDEX stored_object_digest ON stored_object (sha256);
CREATE INDEX stored_object_lock_end ON stored_object (locked_until);

CREATE TABLE version_file (
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    path text NOT NULL,
    object_id bigint NOT NULL REFERENCES stored_object (id),
    format text NOT NULL,
    role text NOT NULL,
    PRIMARY KEY (model_id, number, path),
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX version_file_object ON version_file (object_id);

CREATE TABLE version_parent (
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    parent_id text NOT NULL REFERENCES version (id),
    kind text NOT NULL,
    PRIMARY KEY (model_id, number, parent_id),
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX version_parent_children ON version_parent (parent_id);

CREATE TABLE branch (
    model_id bigint NOT NULL REFERENCES model (id),
    name text NOT NULL,
    head_number bigint NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (model_id, name),
    FOREIGN KEY (model_id, head_number) REFERENCES version (model_id, number)
);

-- Every movement of every branch's head, for its history and for questions about a moment in the past.
CREATE TABLE branch_move (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL,
    branch text NOT NULL,
    from_number bigint,
    to_number bigint NOT NULL,
    moved_at timestamptz NOT NULL,
    operator text NOT NULL,
    cause text NOT NULL,
    FOREIGN KEY (model_id, branch) REFERENCES branch (model_id, name)
);
CREATE INDEX branch_move_history ON branch_move (model_id, branch, seq DESC);

CREATE TABLE candidate (
    publication_id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    model text NOT NULL,
    operator text NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'committed', 'refused')),
    -- The validated publication, as the event's JSON.
    publication bytea NOT NULL,
    validated_at timestamptz NOT NULL,
    decided_at timestamptz,
    decided_by text,
    reason text,
    version_id text
);
CREATE INDEX candidate_waiting ON candidate (seq DESC) WHERE state = 'waiting';

-- migrate:down
DROP TABLE candidate, branch_move, branch, version_parent, version_file, stored_object, version, model, track;
DROP FUNCTION refuse_change;
