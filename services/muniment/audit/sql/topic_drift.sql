-- Statements for what is known of drifted topics.

-- name: lock_drift
SELECT pg_advisory_xact_lock(hashtextextended('muniment topic drift of ' || current_schema(), 0))

-- name: known_drift
SELECT topic, setting, expected, actual FROM topic_drift

-- name: put_drift
INSERT INTO topic_drift (topic, setting, expected, actual, since)
SELECT *, $5 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
ON CONFLICT (topic, setting) DO UPDATE SET expected = excluded.expected, actual = excluded.actual, since = excluded.since

-- name: forget_drift
DELETE FROM topic_drift AS one
USING unnest($1::text[], $2::text[]) AS gone (topic, setting)
WHERE one.topic = gone.topic AND one.setting = gone.setting
