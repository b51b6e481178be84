-- migrate:up
-- The leaf hashes of each full tile in one value, for proofs: read from `entry`, 256 of them lie in as many wide rows.
CREATE TABLE leaf_tile (
    index bigint PRIMARY KEY CHECK (index >= 0),
    hashes bytea NOT NULL CHECK (length(hashes) = 8192)
);
-- Hashes do not get smaller by being packed.
ALTER TABLE leaf_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

INSERT INTO leaf_tile (index, hashes)
SELECT index / 256, string_agg(leaf_hash, ''::bytea ORDER BY index)
FROM entry
WHERE index < (SELECT 256 * count(*) FROM tile_root WHERE level = 0)
GROUP BY index / 256
ORDER BY 1;

CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON leaf_tile
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE leaf_tile ENABLE ALWAYS TRIGGER only_added_to;
REVOKE ALL ON leaf_tile FROM muniment_audit;
GRANT SELECT, INSERT ON leaf_tile TO muniment_audit;

-- migrate:down
DROP TABLE leaf_tile;
