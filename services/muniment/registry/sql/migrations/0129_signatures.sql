-- migrate:up

-- How the signature that a version was published with came out; no row: it had none. Each check is a row, the newest counts.
CREATE TABLE version_signature (
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    judged_at timestamptz NOT NULL,
    -- The signature's file among the version's; nothing where two claim to be it.
    path text,
    status text NOT NULL CHECK (status IN ('verified', 'untrusted', 'invalid')),
    method text CHECK (method IN ('key', 'certificate', 'keyless')),
    -- The key's hint or the certificate's subject, as far as it is known.
    signer text,
    -- Why it is not verified.
    code text,
    -- Files that the signer left out.
    uncovered integer NOT NULL DEFAULT 0 CHECK (uncovered >= 0),
    PRIMARY KEY (model_id, number, judged_at),
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE TRIGGER version_signature_stays BEFORE UPDATE OR DELETE ON version_signature
FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Whether versions and releases of a track must have a verified signature over all their files.
ALTER TABLE track ADD COLUMN signature_required boolean NOT NULL DEFAULT false;

-- migrate:down
ALTER TABLE track DROP COLUMN signature_required;
DROP TABLE version_signature;
