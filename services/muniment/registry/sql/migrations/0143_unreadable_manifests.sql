-- migrate:up

ALTER TABLE manifest_round
    -- Reads in a row of the manifest after `after_id` that the store has failed, and until when it is left alone.
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN rest_until timestamptz NOT NULL DEFAULT '-infinity';

ALTER TABLE manifest_damage
    DROP CONSTRAINT manifest_damage_damage_code_check,
    ADD CONSTRAINT manifest_damage_damage_code_check
        CHECK (damage_code IN ('bytes_damaged', 'bytes_missing', 'bytes_unreadable'));

-- migrate:down
ALTER TABLE manifest_damage
    DROP CONSTRAINT manifest_damage_damage_code_check,
    ADD CONSTRAINT manifest_damage_damage_code_check
        CHECK (damage_code IN ('bytes_damaged', 'bytes_missing')) NOT VALID;

ALTER TABLE manifest_round
    DROP COLUMN failures,
    DROP COLUMN rest_until;
