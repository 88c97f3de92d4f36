"""The child processes, the only place that imports a model runtime."""
