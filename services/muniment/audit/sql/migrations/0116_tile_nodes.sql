-- migrate:up
-- All hashes of each full tile's subtree below its root, in one value: the tile's 256, the 128 over each two of them,
-- and so on to 2. A proof takes at most 8 of them; made anew, they are 255 digests of 256 rows of `entry`.
CREATE TABLE tile_nodes (
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index bigint NOT NULL CHECK (index >= 0),
    nodes bytea NOT NULL CHECK (length(nodes) = 32 * 510),
    PRIMARY KEY (level, index)
);
-- Hashes do not get smaller by being packed.
ALTER TABLE tile_nodes ALTER COLUMN nodes SET STORAGE EXTERNAL;

-- The nodes of 256 hashes.
CREATE FUNCTION nodes_of(hashes bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    nodes bytea := hashes;
    hashed bytea := hashes;
BEGIN
    WHILE length(hashed) > 64 LOOP
        hashed := (
            SELECT string_agg(sha256('\x01'::bytea || substring(hashed FROM 64 * i + 1 FOR 64)), ''::bytea ORDER BY i)
            FROM generate_series(0, length(hashed) / 64 - 1) AS i
        );
        nodes := nodes || hashed;
    END LOOP;
    RETURN nodes;
END
$$;

INSERT INTO tile_nodes (level, index, nodes)
SELECT 0, index / 256, nodes_of(string_agg(leaf_hash, ''::bytea ORDER BY index))
FROM entry
WHERE index < (SELECT 256 * count(*) FROM tile_root WHERE level = 0)
GROUP BY index / 256
ORDER BY 2;
INSERT INTO tile_nodes (level, index, nodes)
SELECT level + 1, index / 256, nodes_of(string_agg(root, ''::bytea ORDER BY index))
FROM tile_root
GROUP BY level, index / 256
HAVING count(*) = 256
ORDER BY 1, 2;

CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON tile_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE tile_nodes ENABLE ALWAYS TRIGGER only_added_to;
REVOKE ALL ON tile_nodes FROM muniment_audit;
GRANT SELECT, INSERT ON tile_nodes TO muniment_audit;

-- migrate:down
DROP TABLE tile_nodes;
DROP FUNCTION nodes_of(bytea);
