-- migrate:up

-- A page of measurements of one slice, or of one dataset, those recorded last first: read in the index's order, however
-- rare the slice is. Partial, so that the many measurements that name neither cost nothing.
CREATE INDEX measurement_of_slice ON measurement (model_id, number, kind, slice, seq DESC) WHERE slice <> '';
CREATE INDEX measurement_of_dataset ON measurement (model_id, number, kind, dataset, seq DESC) WHERE dataset <> '';

-- migrate:down
DROP INDEX measurement_of_slice, measurement_of_dataset;
