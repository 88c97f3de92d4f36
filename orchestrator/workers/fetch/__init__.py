"""Fetching model files, in a process of its own: `python -m orchestrator.workers.fetch`."""
