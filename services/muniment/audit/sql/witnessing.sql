-- Statements about cosignatures. Unqualified names: the connection's search path is the schema audit.

-- name: cosignatures
SELECT coalesce(string_agg(line, '' ORDER BY witness), '') FROM cosignature WHERE size = $1

-- name: witnesses_of
SELECT witness FROM cosignature WHERE size = $1

-- name: insert_cosignature
INSERT INTO cosignature (size, witness, line) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
