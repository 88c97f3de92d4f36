"""Verbs: pure decisions over values."""
