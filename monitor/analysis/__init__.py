"""Offline tools over the same core."""
