"""The way in: publications from Kafka and HTTP, and what became of each.

Consumes `training-completed` (and extra topics of single accounts), and the later topics to keep each publication's
stage: `model-validated`, `model-rejected`, `validation-progressed`, `version-available`, `registry-changed`.
Emits `model-trained`, `model-rejected`, `audit-requested`. Owns publications, upload slots and idempotency keys.
"""
