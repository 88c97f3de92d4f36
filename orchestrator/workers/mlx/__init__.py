"""The runtime `mlx` of a worker."""
