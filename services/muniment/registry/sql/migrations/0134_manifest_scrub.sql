-- migrate:up
-- The walk over the manifests in the store, which are read again as files are. One row.
CREATE TABLE manifest_round (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    after_id text NOT NULL DEFAULT '',                                 -- of the manifest that was read last
    started_at timestamptz NOT NULL DEFAULT 'epoch',
    finished_at timestamptz
);
INSERT INTO manifest_round (finished_at) VALUES ('epoch');

-- Manifests (of versions and of releases) whose stored bytes are not those of their id.
CREATE TABLE manifest_damage (
    id text PRIMARY KEY,
    damaged_at timestamptz NOT NULL,
    damage_code text NOT NULL CHECK (damage_code IN ('bytes_damaged', 'bytes_missing')),
    damage_actual text NOT NULL
);

-- migrate:down
DROP TABLE manifest_damage, manifest_round;
