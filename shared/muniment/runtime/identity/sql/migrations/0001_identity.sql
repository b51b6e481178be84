-- migrate:up
-- Who may call, and whose events are believed. Every service asks through the two functions below and sees no table:
-- with a token's hash in hand it learns about that token, and it cannot list any. One service hosts the management
-- and writes the tables: the registry (docs/decisions/identity-schema.md).
CREATE SCHEMA IF NOT EXISTS identity;

-- Roles belong to the whole cluster, so another database may have made this one, even while we look.
DO $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('muniment roles', 0));
    IF to_regrole('muniment_registry') IS NULL THEN
        BEGIN
            CREATE ROLE muniment_registry NOLOGIN;
            GRANT muniment_registry TO CURRENT_USER;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END IF;
END
$$;

CREATE TABLE identity.api_token (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 128),
    roles text[] NOT NULL CHECK (
        cardinality(roles) BETWEEN 1 AND 5 AND roles <@ ARRAY['reader', 'writer', 'promoter', 'auditor', 'admin']
    ),
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at),
    revoked_at timestamptz,
    last_used_at timestamptz
);
-- A name is free again once its token is revoked: rotation keeps names. Rows stay, as the record of what was.
CREATE UNIQUE INDEX api_token_live_name ON identity.api_token (name) WHERE revoked_at IS NULL;

CREATE TABLE identity.publisher_key (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kid text NOT NULL UNIQUE CHECK (kid ~ '^[0-9a-f]{16}$'),
    account text NOT NULL CHECK (length(account) BETWEEN 1 AND 128),
    public_key bytea NOT NULL UNIQUE CHECK (length(public_key) = 32),
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz NOT NULL CHECK (expires_at > created_at),
    revoked_at timestamptz
);

-- Bodies in BEGIN ATOMIC are bound to their objects here and now: no caller's search_path can turn them elsewhere.
CREATE FUNCTION identity.find_token(wanted bytea)
RETURNS TABLE (subject text, roles text[], expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT t.subject, t.roles, t.expires_at, t.revoked_at, t.last_used_at
    FROM identity.api_token t WHERE t.token_hash = wanted;
END;

CREATE FUNCTION identity.touch_token(wanted bytea, used_at timestamptz)
RETURNS void
LANGUAGE sql SECURITY DEFINER
BEGIN ATOMIC
    UPDATE identity.api_token t SET last_used_at = used_at
    WHERE t.token_hash = wanted AND (t.last_used_at IS NULL OR t.last_used_at <= used_at - interval '1 minute');
END;

CREATE FUNCTION identity.find_publisher_key(wanted text)
RETURNS TABLE (account text, public_key bytea, expires_at timestamptz, revoked_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
    SELECT k.account, k.public_key, k.expires_at, k.revoked_at
    FROM identity.publisher_key k WHERE k.kid = wanted;
END;

-- The asking role may have been given the tables by default privileges of its schema; it needs the functions alone.
DO $$
BEGIN
    IF to_regrole('muniment_identity') IS NOT NULL THEN
        REVOKE ALL ON ALL TABLES IN SCHEMA identity FROM muniment_identity;
        REVOKE ALL ON ALL SEQUENCES IN SCHEMA identity FROM muniment_identity;
    END IF;
END
$$;
GRANT USAGE ON SCHEMA identity TO PUBLIC;
GRANT SELECT, INSERT ON identity.api_token, identity.publisher_key TO muniment_registry;
GRANT UPDATE (revoked_at) ON identity.api_token, identity.publisher_key TO muniment_registry;

-- migrate:down
DROP FUNCTION identity.find_publisher_key;
DROP FUNCTION identity.touch_token;
DROP FUNCTION identity.find_token;
DROP TABLE identity.publisher_key;
DROP TABLE identity.api_token;
