-- migrate:up
-- What witnesses have signed of a checkpoint, as lines of its signed note: added when they come, never changed.
CREATE TABLE cosignature (
    size bigint NOT NULL REFERENCES checkpoint (size),
    witness text NOT NULL,                                             -- the key's name
    line text NOT NULL,                                                -- ends in a line feed
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (size, witness)
);
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON cosignature
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE cosignature ENABLE ALWAYS TRIGGER only_added_to;

REVOKE ALL ON cosignature FROM muniment_audit;
GRANT SELECT, INSERT ON cosignature TO muniment_audit;

-- migrate:down
DROP TABLE cosignature;
