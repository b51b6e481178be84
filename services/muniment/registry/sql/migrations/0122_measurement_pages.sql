-- migrate:up

-- A page of measurements, those recorded last first, of one kind and of one metric: read in the index's order.
CREATE INDEX measurement_of_kind ON measurement (model_id, number, kind, seq DESC);
CREATE INDEX measurement_of_metric ON measurement (model_id, number, kind, metric, seq DESC);
DROP INDEX measurement_of_version;

-- Whether the batch exists, asked once for all rows of a statement instead of once for each: an upload has up to
-- 100,000. It is as safe as the foreign key, since batches refuse UPDATE, DELETE and TRUNCATE.
ALTER TABLE measurement DROP CONSTRAINT measurement_batch_id_fkey;
CREATE FUNCTION measurement_has_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT batch_id FROM added) AS a
               WHERE NOT EXISTS (SELECT FROM measurement_batch b WHERE b.id = a.batch_id)) THEN
        RAISE EXCEPTION 'a measurement is of a batch that does not exist' USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER measurement_batch_exists AFTER INSERT ON measurement
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION measurement_has_batch();

-- migrate:down
DROP TRIGGER measurement_batch_exists ON measurement;
DROP FUNCTION measurement_has_batch;
ALTER TABLE measurement ADD FOREIGN KEY (batch_id) REFERENCES measurement_batch (id);
CREATE INDEX measurement_of_version ON measurement (model_id, number, seq DESC);
DROP INDEX measurement_of_kind, measurement_of_metric;
