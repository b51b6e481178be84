-- migrate:up
-- Pruning finds what is old without reading what is not.
CREATE INDEX inbox_received ON inbox (received_at);

-- migrate:down
DROP INDEX inbox_received;
