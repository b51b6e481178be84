-- migrate:up
-- What has been published of the log. Only ever added to, as the log itself.

-- The log's name in its checkpoints, given once.
CREATE TABLE log_identity (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    origin text NOT NULL CHECK (length(origin) BETWEEN 1 AND 255),
    started_at timestamptz NOT NULL DEFAULT now()
);

-- A full tile's root: hash `index` of the level above (C2SP tlog-tiles). Level 0's hashes are entry.leaf_hash.
CREATE TABLE tile_root (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index bigint NOT NULL CHECK (index >= 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    PRIMARY KEY (level, index)
);

-- A signed tree head is here before anybody sees it, and its size can be here once: no second root is ever signed
-- for a size.
CREATE TABLE checkpoint (
    size bigint PRIMARY KEY CHECK (size > 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    note text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);

-- The public keys that have signed, in their order. A key's predecessors sign beside it until the time given here.
CREATE TABLE signing_key (
    ordinal bigint PRIMARY KEY CHECK (ordinal > 0),
    vkey text NOT NULL UNIQUE,
    added_at timestamptz NOT NULL,
    predecessors_until timestamptz CHECK ((predecessors_until IS NULL) = (ordinal = 1))
);

CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON log_identity
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON tile_root
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON signing_key
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE log_identity ENABLE ALWAYS TRIGGER only_added_to;
ALTER TABLE tile_root ENABLE ALWAYS TRIGGER only_added_to;
ALTER TABLE checkpoint ENABLE ALWAYS TRIGGER only_added_to;
ALTER TABLE signing_key ENABLE ALWAYS TRIGGER only_added_to;

REVOKE ALL ON log_identity, tile_root, checkpoint, signing_key FROM muniment_audit;
GRANT SELECT, INSERT ON log_identity, tile_root, checkpoint, signing_key TO muniment_audit;

-- migrate:down
DO $$
BEGIN
    IF EXISTS (SELECT FROM checkpoint) THEN
        RAISE EXCEPTION 'the audit log has published checkpoints, and they are not dropped by a migration';
    END IF;
END
$$;
DROP TABLE signing_key;
DROP TABLE checkpoint;
DROP TABLE tile_root;
DROP TABLE log_identity;
