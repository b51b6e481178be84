"""The pieces of the S3 adapter (`muniment.adapters.minio`): blocking code on minio-py, one file per subject."""
