-- migrate:up
-- Refused requests of one caller at one operation, by the minute. The first ones have entries of their own; the others
-- are counted here until the minute is over and one entry says how many they were.
CREATE TABLE refusal_tally (
    operator text NOT NULL,
    authenticated_by text NOT NULL,
    operation text NOT NULL,
    code text NOT NULL,
    minute timestamptz NOT NULL,
    count bigint NOT NULL CHECK (count > 0),
    resource text NOT NULL,                                            -- of the first one
    PRIMARY KEY (minute, operator, authenticated_by, operation, code)
);

-- migrate:down
DROP TABLE refusal_tally;
