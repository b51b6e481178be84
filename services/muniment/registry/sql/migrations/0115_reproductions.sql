-- migrate:up
-- A version whose run repeated another's, and how the two compare. Judged once, at the commit.
CREATE TABLE reproduction (
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    of_id text NOT NULL REFERENCES version (id),
    outcome text NOT NULL CHECK (outcome IN ('identical', 'within-tolerance', 'differs')),
    -- Which tolerances decided, in words.
    judged_by text NOT NULL,
    -- {"items": [{"path", "original", "reproduction", "allowed", "within"}], "left_out": count}
    differences jsonb NOT NULL,
    judged_at timestamptz NOT NULL,
    PRIMARY KEY (model_id, number),
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE INDEX reproduction_of ON reproduction (of_id, judged_at DESC);
CREATE TRIGGER reproduction_stays BEFORE UPDATE OR DELETE ON reproduction
FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- migrate:down
DROP TABLE reproduction;
