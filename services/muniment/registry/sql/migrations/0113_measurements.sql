-- migrate:up

-- One upload of measurements. Its id is made from the caller's Idempotency-Key, so the same upload is found again.
CREATE TABLE measurement_batch (
    id uuid PRIMARY KEY,
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('evaluation', 'observation')),
    count integer NOT NULL CHECK (count > 0),
    -- Of the request's body.
    sha256 text NOT NULL,
    operator text NOT NULL,
    recorded_at timestamptz NOT NULL,
    FOREIGN KEY (model_id, number) REFERENCES version (model_id, number)
);
CREATE TRIGGER measurement_batch_stays BEFORE UPDATE OR DELETE ON measurement_batch
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER measurement_batch_table_stays BEFORE TRUNCATE ON measurement_batch EXECUTE FUNCTION refuse_change();

-- What was measured on a version after it was made. `dataset` and `slice` are '' where none is named, since an index
-- finds equal texts and not equal nulls.
CREATE TABLE measurement (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id uuid NOT NULL REFERENCES measurement_batch (id),
    model_id bigint NOT NULL,
    number bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('evaluation', 'observation')),
    metric text NOT NULL,
    value double precision NOT NULL CHECK (value > '-infinity' AND value < 'infinity'),
    unit text,
    dataset text NOT NULL,
    slice text NOT NULL,
    measured_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    operator text NOT NULL
);
-- The newest value of a version, a metric's values over time, and (probed once for each version) over versions.
CREATE INDEX measurement_series
    ON measurement (model_id, number, kind, metric, dataset, slice, measured_at DESC, seq DESC);
CREATE INDEX measurement_of_version ON measurement (model_id, number, seq DESC);
CREATE TRIGGER measurement_stays BEFORE UPDATE OR DELETE ON measurement
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER measurement_table_stays BEFORE TRUNCATE ON measurement EXECUTE FUNCTION refuse_change();

-- The unit that a metric of a model got first: it keeps it.
CREATE TABLE metric_unit (
    model_id bigint NOT NULL REFERENCES model (id),
    metric text NOT NULL,
    unit text NOT NULL,
    PRIMARY KEY (model_id, metric)
);

-- How each tolerance of the baseline stands. `line` tells whose measurements: those of the baseline itself over time,
-- or the evaluations of newer versions of main.
CREATE TABLE divergence (
    model_id bigint NOT NULL REFERENCES model (id),
    line text NOT NULL CHECK (line IN ('baseline', 'main')),
    metric text NOT NULL,
    dataset text NOT NULL,
    slice text NOT NULL,
    state text NOT NULL CHECK (state IN ('holding', 'broken')),
    baseline_number bigint NOT NULL,
    -- The baseline's own value when it became the baseline.
    reference double precision,
    -- Since when it is broken: the first version and the first measurement.
    first_number bigint,
    first_at timestamptz,
    -- The newest measurement that was judged, and the one that recovered last: what comes late is told by them.
    judged_number bigint NOT NULL,
    judged_at timestamptz NOT NULL,
    held_number bigint,
    held_at timestamptz,
    value double precision NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (model_id, line, metric, dataset, slice),
    CHECK ((state = 'broken') = (first_number IS NOT NULL AND first_at IS NOT NULL)),
    FOREIGN KEY (model_id, baseline_number) REFERENCES version (model_id, number)
);

-- migrate:down
DROP TABLE divergence, metric_unit, measurement, measurement_batch;
