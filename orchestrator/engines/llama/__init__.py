"""The engine `llama-cpp`: GGUF files in child processes."""
