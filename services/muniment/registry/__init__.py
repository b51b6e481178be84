"""registry: commits validated publications as versions that nobody can change.

Consumes model-validated and HTTP commands; emits version-available, registry-changed, model-rejected and
audit-requested; owns models, versions, branches, candidates, and is the only one to lock bytes.
"""
