"""A peer measured beside Muniment: MLflow's server on the same embedded Postgres and S3, through its own client."""
