-- migrate:up

-- Branches can be closed (they keep their versions) and protected (only `promote` moves their head).
ALTER TABLE branch
    ADD COLUMN closed_at timestamptz,
    ADD COLUMN closed_by text,
    ADD COLUMN protected boolean NOT NULL DEFAULT false;
ALTER TABLE branch_move ADD COLUMN reason text;

-- Named, movable references. `revision` counts the movements: it is the pointer's ETag.
CREATE TABLE pointer (
    model_id bigint NOT NULL REFERENCES model (id),
    name text NOT NULL,
    number bigint NOT NULL,
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    moved_at timestamptz NOT NULL,
    moved_by text NOT NULL,
    PRIMARY KEY (model_id, name),
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX pointer_target ON pointer (model_id, number);

-- Every movement of every pointer. No `to_number`: it was taken away.
CREATE TABLE pointer_move (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL REFERENCES model (id),
    name text NOT NULL,
    verb text NOT NULL CHECK (verb IN ('set', 'promote', 'rollback', 'delete', 'revert')),
    from_number bigint,
    to_number bigint,
    moved_at timestamptz NOT NULL,
    operator text NOT NULL,
    reason text,
    cause text NOT NULL
);
CREATE INDEX pointer_move_history ON pointer_move (model_id, name, seq DESC);
CREATE TRIGGER pointer_move_stays BEFORE UPDATE OR DELETE ON pointer_move FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- A release: a version under a semantic version, with its own manifest, lock and track. Never moves.
-- `precedence` sorts as SemVer 2.0 section 11 says, whatever the collation; two releases never have the same.
CREATE TABLE release (
    model_id bigint NOT NULL,
    semver text NOT NULL,
    precedence bytea NOT NULL,
    prerelease boolean NOT NULL,
    number bigint NOT NULL,
    id text NOT NULL UNIQUE,
    track text NOT NULL REFERENCES track (name),
    copy text NOT NULL CHECK (copy IN ('logical', 'physical')),
    notes text,
    operator text NOT NULL,
    released_at timestamptz NOT NULL,
    manifest bytea NOT NULL,
    manifest_bucket text NOT NULL,
    manifest_key text NOT NULL,
    manifest_version_id text NOT NULL,
    manifest_locked_until timestamptz NOT NULL,
    PRIMARY KEY (model_id, semver),
    UNIQUE (model_id, precedence),
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX release_source ON release (model_id, number);
CREATE TRIGGER release_is_immutable BEFORE UPDATE OF
    model_id, semver, precedence, prerelease, number, id, copy, operator, released_at, manifest, manifest_bucket,
    manifest_key, manifest_version_id
ON release FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER release_stays BEFORE DELETE ON release FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE release_file (
    model_id bigint NOT NULL,
    semver text NOT NULL,
    path text NOT NULL,
    object_id bigint NOT NULL REFERENCES stored_object (id),
    format text NOT NULL,
    role text NOT NULL,
    PRIMARY KEY (model_id, semver, path),
    FOREIGN KEY (model_id, semver) REFERENCES release (model_id, semver)
);
CREATE INDEX release_file_object ON release_file (object_id);

-- A deleted version: its row and its lineage stay, its number is never given again.
CREATE TABLE tombstone (
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    reason text NOT NULL,
    operator text NOT NULL,
    deleted_at timestamptz NOT NULL,
    PRIMARY KEY (model_id, number),
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);

-- What a version must pass to become the baseline. `revision` is its ETag; no row means no demands.
CREATE TABLE contract (
    model_id bigint PRIMARY KEY REFERENCES model (id),
    revision bigint NOT NULL DEFAULT 1,
    -- [{"metric", "slice", "dataset", "direction", "absolute" | "relative", "floor", "hysteresis"}]
    tolerances jsonb NOT NULL DEFAULT '[]',
    checks text[] NOT NULL DEFAULT '{}',
    approvals integer NOT NULL DEFAULT 0 CHECK (approvals BETWEEN 0 AND 100),
    frozen_at timestamptz,
    frozen_by text,
    freeze_reason text,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL
);

-- Who approves that a version becomes the baseline, and which checks it has passed. Appended; the newest counts.
CREATE TABLE approval (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    operator text NOT NULL,
    approved boolean NOT NULL,
    comment text,
    given_at timestamptz NOT NULL,
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX approval_of_version ON approval (model_id, number, operator, seq DESC);

CREATE TABLE version_check (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    name text NOT NULL,
    passed boolean NOT NULL,
    details text,
    operator text NOT NULL,
    reported_at timestamptz NOT NULL,
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX version_check_of_version ON version_check (model_id, number, name, seq DESC);

-- What each reversible change was, by the id of its audit request: `revert` makes the opposite change from it.
CREATE TABLE reversible (
    audit_event text PRIMARY KEY,
    model_id bigint NOT NULL REFERENCES model (id),
    action text NOT NULL,
    target text NOT NULL,
    before jsonb,
    after jsonb,
    changed_at timestamptz NOT NULL
);

-- migrate:down
DROP TABLE reversible, version_check, approval, contract, tombstone, release_file, release, pointer_move, pointer;
ALTER TABLE branch_move DROP COLUMN reason;
ALTER TABLE branch DROP COLUMN closed_at, DROP COLUMN closed_by, DROP COLUMN protected;
