-- migrate:up

-- What a version's description and tags were at a moment: what the first change after it began from.
CREATE INDEX reversible_of_target ON reversible (model_id, action, target, changed_at);

-- migrate:down
DROP INDEX reversible_of_target;
