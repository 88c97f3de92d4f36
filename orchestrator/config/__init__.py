"""YAML files in, one catalog or every problem found out."""
