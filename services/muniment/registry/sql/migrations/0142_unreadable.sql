-- migrate:up

ALTER TABLE stored_object
    -- Reads in a row that the store has failed: together with what it does give they tell of one object's damage.
    ADD COLUMN scrub_failures integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT stored_object_damage_code_check,
    ADD CONSTRAINT stored_object_damage_code_check
        CHECK (damage_code IN ('bytes_damaged', 'bytes_missing', 'bytes_unreadable'));

-- migrate:down
ALTER TABLE stored_object
    DROP COLUMN scrub_failures,
    DROP CONSTRAINT stored_object_damage_code_check,
    ADD CONSTRAINT stored_object_damage_code_check
        CHECK (damage_code IN ('bytes_damaged', 'bytes_missing')) NOT VALID;
