-- migrate:up

-- Pages of measurements by any of metric, dataset and slice, in the order of seq: each may be frequent and two together
-- rare. Partial, so that the many measurements that name neither dataset nor slice cost nothing. `NULLS LAST` says
-- nothing of a column without nulls, but the primary key has not this order: with statistics the planner else took that
-- for a page, and read it backwards through all versions until it had found enough.
DROP INDEX measurement_of_kind, measurement_of_metric, measurement_of_slice, measurement_of_dataset;
CREATE INDEX measurement_of_kind ON measurement (model_id, number, kind, seq DESC NULLS LAST);
CREATE INDEX measurement_of_metric ON measurement (model_id, number, kind, metric, seq DESC NULLS LAST);
CREATE INDEX measurement_of_slice ON measurement (model_id, number, kind, slice, seq DESC NULLS LAST) WHERE slice <> '';
CREATE INDEX measurement_of_dataset ON measurement (model_id, number, kind, dataset, seq DESC NULLS LAST)
    WHERE dataset <> '';
CREATE INDEX measurement_of_metric_slice ON measurement (model_id, number, kind, metric, slice, seq DESC NULLS LAST)
    WHERE slice <> '';
CREATE INDEX measurement_of_metric_dataset ON measurement (model_id, number, kind, metric, dataset, seq DESC NULLS LAST)
    WHERE dataset <> '';
CREATE INDEX measurement_of_dataset_slice ON measurement (model_id, number, kind, dataset, slice, seq DESC NULLS LAST)
    WHERE dataset <> '' AND slice <> '';
CREATE INDEX measurement_of_all_three ON measurement
    (model_id, number, kind, metric, dataset, slice, seq DESC NULLS LAST) WHERE dataset <> '' AND slice <> '';

-- Candidates by state, of one model or of all.
DROP INDEX candidate_waiting;
CREATE INDEX candidate_of_state ON candidate (state, seq DESC NULLS LAST);
CREATE INDEX candidate_of_model ON candidate (model, state, seq DESC NULLS LAST);

-- How many versions a model had at a moment.
CREATE INDEX version_committed ON version (model_id, committed_at DESC, number DESC);

-- migrate:down
DROP INDEX version_committed, candidate_of_model, candidate_of_state, measurement_of_all_three,
    measurement_of_dataset_slice, measurement_of_metric_dataset, measurement_of_metric_slice, measurement_of_dataset,
    measurement_of_slice, measurement_of_metric, measurement_of_kind;
CREATE INDEX candidate_waiting ON candidate (seq DESC) WHERE state = 'waiting';
CREATE INDEX measurement_of_kind ON measurement (model_id, number, kind, seq DESC);
CREATE INDEX measurement_of_metric ON measurement (model_id, number, kind, metric, seq DESC);
CREATE INDEX measurement_of_slice ON measurement (model_id, number, kind, slice, seq DESC) WHERE slice <> '';
CREATE INDEX measurement_of_dataset ON measurement (model_id, number, kind, dataset, seq DESC) WHERE dataset <> '';
