-- migrate:up
-- The log. Rows are added by the one writer of the moment and never changed.

CREATE TABLE entry (
    index bigint PRIMARY KEY CHECK (index >= 0),
    event_id text NOT NULL UNIQUE,                                     -- of the audit request: one entry each, for ever
    leaf_hash bytea NOT NULL CHECK (length(leaf_hash) = 32),           -- SHA-256(0x00 || data), RFC 6962
    root_hash bytea NOT NULL CHECK (length(root_hash) = 32),           -- of the tree of size index + 1
    data bytea NOT NULL CHECK (length(data) BETWEEN 1 AND 65535),      -- the leaf's data: canonical JSON, RFC 8785
    log_time timestamptz NOT NULL,                                     -- never before the previous entry's
    -- For searching only; the truth is in data.
    action text NOT NULL,
    outcome text NOT NULL,
    operator text NOT NULL,
    model text,
    resource text NOT NULL,
    correlation text
);
-- Each filter's rows in the order of the log, so that a page is one range of one index.
CREATE INDEX entry_log_time ON entry (log_time, index);
CREATE INDEX entry_action ON entry (action, index);
CREATE INDEX entry_operator ON entry (operator, index);
CREATE INDEX entry_model ON entry (lower(model), index) WHERE model IS NOT NULL;
-- These two may be longer than an index can hold.
CREATE INDEX entry_resource ON entry (left(resource, 256), index);
CREATE INDEX entry_correlation ON entry (left(correlation, 256), index) WHERE correlation IS NOT NULL;

-- The tree after each batch. Each head has at most one successor, so two writers cannot grow two logs from one head.
CREATE TABLE tree_head (
    size bigint PRIMARY KEY CHECK (size >= 0),
    previous bigint UNIQUE REFERENCES tree_head (size) CHECK (previous < size),
    root bytea NOT NULL CHECK (length(root) = 32),
    frontier bytea[] NOT NULL CHECK (cardinality(frontier) = bit_count(size::bit(64))),
    log_time timestamptz NOT NULL,                                     -- of the last entry
    writer_epoch bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((previous IS NULL) = (size = 0))
);
INSERT INTO tree_head (size, previous, root, frontier, log_time, writer_epoch)
VALUES (0, NULL, sha256(''), '{}', 'epoch', 0);

-- Who may append: one row, locked by every append. A new holder raises the epoch, which ends the one before.
CREATE TABLE writer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL,
    holder text NOT NULL,
    taken_at timestamptz NOT NULL
);
INSERT INTO writer (epoch, holder, taken_at) VALUES (0, 'nobody', now());

-- Refused to everybody, the owner and superusers included, in replication mode too; the privileges below come first
-- for the service. Whoever may drop the triggers can still rewrite the tables: that is what the tree is for.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of %.% refused: the audit log is only ever added to', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Correct an entry by an operation that leaves another one.';
END
$$;
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON tree_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER only_one BEFORE DELETE OR TRUNCATE ON writer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE entry ENABLE ALWAYS TRIGGER only_added_to;
ALTER TABLE tree_head ENABLE ALWAYS TRIGGER only_added_to;
ALTER TABLE writer ENABLE ALWAYS TRIGGER only_one;

REVOKE ALL ON entry, tree_head, writer FROM muniment_audit;
GRANT SELECT, INSERT ON entry, tree_head TO muniment_audit;
GRANT SELECT, UPDATE ON writer TO muniment_audit;

-- migrate:down
DO $$
BEGIN
    IF EXISTS (SELECT FROM entry) THEN
        RAISE EXCEPTION 'the audit log has entries and is not dropped by a migration';
    END IF;
END
$$;
DROP TABLE writer;
DROP TABLE tree_head;
DROP TABLE entry;
DROP FUNCTION refuse_change();
