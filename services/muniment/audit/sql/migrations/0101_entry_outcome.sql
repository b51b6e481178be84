-- migrate:up
-- What was refused is rare, and who asks for it must not read the whole log.
CREATE INDEX entry_outcome ON entry (outcome, index) WHERE outcome <> 'done';

-- migrate:down
DROP INDEX entry_outcome;
