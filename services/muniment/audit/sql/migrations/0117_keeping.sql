-- migrate:up
-- Checkpoints may be thinned out, all but the newest: it is what readers get and where the publisher goes on. That a
-- size is published once was held by its row; it is held now by sizes that only grow.
CREATE FUNCTION keep_newest_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.size >= (SELECT max(size) FROM checkpoint) THEN
        RAISE EXCEPTION 'the newest checkpoint (size %) is never deleted', OLD.size
            USING ERRCODE = 'restrict_violation', HINT = 'Older ones may be thinned out.';
    END IF;
    RETURN OLD;
END
$$;
CREATE FUNCTION refuse_older_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.size <= (SELECT max(size) FROM checkpoint) THEN
        RAISE EXCEPTION 'size % was published already, or passed by', NEW.size USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END
$$;
DROP TRIGGER only_added_to ON checkpoint;
CREATE TRIGGER only_added_to BEFORE UPDATE OR TRUNCATE ON checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER newest_stays BEFORE DELETE ON checkpoint
    FOR EACH ROW EXECUTE FUNCTION keep_newest_checkpoint();
CREATE TRIGGER only_larger BEFORE INSERT ON checkpoint
    FOR EACH ROW EXECUTE FUNCTION refuse_older_checkpoint();
ALTER TABLE checkpoint ENABLE ALWAYS TRIGGER only_added_to;
ALTER TABLE checkpoint ENABLE ALWAYS TRIGGER newest_stays;
GRANT DELETE ON checkpoint TO muniment_audit;

-- Where the round over the bucket's full tiles stands, whose locks are extended before they end. One row.
CREATE TABLE tile_round (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    next_index bigint NOT NULL DEFAULT 0,                              -- of the level 0 tile that is looked at next
    soonest timestamptz,                                               -- end of a lock, of those seen in this round
    last_soonest timestamptz,                                          -- the same of the last whole round
    finished_at timestamptz                                            -- of that
);
INSERT INTO tile_round DEFAULT VALUES;

-- migrate:down
DROP TABLE tile_round;
REVOKE DELETE ON checkpoint FROM muniment_audit;
DROP TRIGGER only_larger ON checkpoint;
DROP TRIGGER newest_stays ON checkpoint;
DROP TRIGGER only_added_to ON checkpoint;
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE checkpoint ENABLE ALWAYS TRIGGER only_added_to;
DROP FUNCTION refuse_older_checkpoint();
DROP FUNCTION keep_newest_checkpoint();
