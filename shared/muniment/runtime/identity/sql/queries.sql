-- Names are qualified: these statements run on connections whose search path is another schema.

-- name: find_token
SELECT subject, roles, expires_at, revoked_at, last_used_at FROM identity.find_token($1);

-- name: touch_token
SELECT identity.touch_token($1, $2);

-- name: find_publisher_key
SELECT account, public_key, expires_at, revoked_at FROM identity.find_publisher_key($1);

-- name: lock_tokens
-- Taken by whoever changes which admin tokens there are, so that two at once see each other.
SELECT pg_advisory_xact_lock(hashtextextended('muniment identity tokens', 0));

-- name: token_name_taken
SELECT EXISTS (SELECT FROM identity.api_token WHERE name = $1 AND revoked_at IS NULL);

-- name: insert_token
INSERT INTO identity.api_token (name, subject, roles, token_hash, created_at, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: revoke_token
UPDATE identity.api_token SET revoked_at = $2
WHERE name = $1 AND revoked_at IS NULL
RETURNING subject, roles, token_hash, expires_at;

-- name: other_admin_until
SELECT max(expires_at) FROM identity.api_token
WHERE name <> $1 AND revoked_at IS NULL AND 'admin' = ANY (roles);

-- name: list_tokens
SELECT id, name, subject, roles, created_at, created_by, expires_at, revoked_at, last_used_at
FROM identity.api_token
WHERE id < $1
ORDER BY id DESC
LIMIT $2;

-- name: insert_publisher_key
INSERT INTO identity.publisher_key (kid, account, public_key, created_at, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: revoke_publisher_key
UPDATE identity.publisher_key SET revoked_at = $2
WHERE kid = $1 AND revoked_at IS NULL
RETURNING account, expires_at;

-- name: list_publisher_keys
SELECT id, kid, account, public_key, created_at, created_by, expires_at, revoked_at
FROM identity.publisher_key
WHERE id < $1
ORDER BY id DESC
LIMIT $2;
