-- migrate:up

-- Digests of the tensors in safetensors files, by the file's SHA-256: what was once read is never read again.
-- All tensors of a file are written together. `digest` is SHA-256 of dtype, shape and bytes.
CREATE TABLE tensor_digest (
    sha256 text NOT NULL,
    name text NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (sha256, name)
);

-- migrate:down
DROP TABLE tensor_digest;
