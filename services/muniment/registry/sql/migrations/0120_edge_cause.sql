-- migrate:up

-- The request that told of an edge, as its audit entry names it (`KIND ID`): which edges an entry's digest is of.
-- Null where the edge was told before this was kept.
ALTER TABLE external_edge ADD COLUMN cause text;

-- migrate:down
ALTER TABLE external_edge DROP COLUMN cause;
