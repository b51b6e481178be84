-- migrate:up

-- What a version's manifest says of data and code, as rows: for "what depends on this?". '' is an unknown digest.
CREATE TABLE version_dataset (
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    name text NOT NULL,
    digest text NOT NULL DEFAULT '',
    uri text,
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX version_dataset_name ON version_dataset (name, digest);
-- A URI may be longer than a B-tree's entry.
CREATE INDEX version_dataset_uri ON version_dataset USING hash (uri);
CREATE INDEX version_dataset_version ON version_dataset (model_id, number);

CREATE TABLE version_code (
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    repository text,
    commit text NOT NULL,
    PRIMARY KEY (model_id, number),
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX version_code_commit ON version_code (commit);

INSERT INTO version_dataset (model_id, number, name, digest, uri)
SELECT v.model_id, v.number, d ->> 'name', coalesce(d ->> 'digest', ''), d ->> 'uri'
FROM version v, jsonb_array_elements(convert_from(v.manifest, 'UTF8')::jsonb -> 'datasets') AS d;

INSERT INTO version_code (model_id, number, repository, commit)
SELECT v.model_id, v.number, c.code ->> 'repository', c.code ->> 'commit'
FROM version v, LATERAL (SELECT convert_from(v.manifest, 'UTF8')::jsonb -> 'code' AS code) AS c
WHERE c.code ->> 'commit' IS NOT NULL;

-- What deployers report, appended. The newest of (model, environment, deployer) is current.
CREATE TABLE deployment (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    -- The release it was deployed as, where the report named one.
    semver text,
    environment text NOT NULL,
    deployer text NOT NULL,
    state text NOT NULL CHECK (state IN ('started', 'running', 'failed', 'stopped')),
    at timestamptz NOT NULL,
    url text,
    details text,
    operator text NOT NULL,
    reported_at timestamptz NOT NULL,
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX deployment_current ON deployment (model_id, environment, deployer, at DESC, seq DESC);
CREATE INDEX deployment_environment ON deployment (environment, model_id, deployer, at DESC, seq DESC);
CREATE INDEX deployment_version ON deployment (model_id, number);
CREATE TRIGGER deployment_stays BEFORE UPDATE OR DELETE ON deployment FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Datasets that runs elsewhere have read and written, from OpenLineage events. '' is an unknown version.
CREATE TABLE external_edge (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL,
    job text NOT NULL,
    way text NOT NULL CHECK (way IN ('input', 'output')),
    name text NOT NULL,
    digest text NOT NULL DEFAULT '',
    occurred_at timestamptz NOT NULL,
    operator text NOT NULL,
    UNIQUE (run_id, way, name, digest)
);
CREATE INDEX external_edge_dataset ON external_edge (name, way);

-- Condemned: nothing needs it, its bytes are about to go. Freed: they are gone; the row stays, for the deleted versions.
ALTER TABLE stored_object ADD COLUMN condemned_at timestamptz, ADD COLUMN freed_at timestamptz;

-- migrate:down
ALTER TABLE stored_object DROP COLUMN condemned_at, DROP COLUMN freed_at;
DROP TABLE external_edge, deployment, version_code, version_dataset;
