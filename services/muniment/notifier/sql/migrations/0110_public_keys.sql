-- migrate:up
ALTER TABLE subscription_secret ADD COLUMN public_key text;
COMMENT ON COLUMN subscription_secret.public_key IS 'of an Ed25519 private key: what receivers verify with (whpk_)';

-- migrate:down
ALTER TABLE subscription_secret DROP COLUMN public_key;
