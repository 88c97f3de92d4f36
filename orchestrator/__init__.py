"""A daemon that keeps local language models the way a folder of YAML says."""
