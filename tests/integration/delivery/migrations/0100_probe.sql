-- migrate:up
CREATE TABLE effect (seq bigint GENERATED ALWAYS AS IDENTITY, event_id text NOT NULL, attempt integer NOT NULL);
CREATE TABLE rejection (event_id text NOT NULL, code text NOT NULL);

-- migrate:down
DROP TABLE effect, rejection;
