-- migrate:up
-- Buckets that a track was in before: what was begun there and never recorded is still swept. Of the time before this
-- column, those are known in which a release was made.
ALTER TABLE track ADD COLUMN left_buckets text[] NOT NULL DEFAULT '{}';
UPDATE track t SET left_buckets = ARRAY(
    SELECT DISTINCT r.manifest_bucket FROM release r
    WHERE r.track = t.name AND r.manifest_bucket IS DISTINCT FROM t.bucket
    ORDER BY r.manifest_bucket
);

-- migrate:down
ALTER TABLE track DROP COLUMN left_buckets;
