"""Faults on real parts under load; each run ends with the checker of what must always hold (docs/reliability.md)."""
