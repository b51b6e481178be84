"""checksum-validator: re-reads every byte of a publication by version-id and says what it found.

Consumes model-trained; emits model-validated, model-rejected, validation-progressed and audit-requested; owns its jobs.
"""
