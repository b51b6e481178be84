"""The audit service: one entry per operation, in one order, under one Merkle tree.

Consumes `audit-requested`; emits `audit-log`; owns the schema `audit`: the entries, the tree's heads and the writer's
epoch. `muniment.audit.app.service` is what the composition root runs.
"""
