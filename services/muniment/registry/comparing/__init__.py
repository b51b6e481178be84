"""Comparing versions: their manifests, and nothing of it ever changes a version."""
