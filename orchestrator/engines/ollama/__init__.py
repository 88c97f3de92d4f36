"""The engine `ollama`: models that Ollama servers run, on this machine or beside it."""
