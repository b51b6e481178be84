"""Lineage: what a version was made from, and what was made from it, to any depth."""
