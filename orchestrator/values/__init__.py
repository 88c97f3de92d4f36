"""Nouns: frozen values that every layer shares."""
