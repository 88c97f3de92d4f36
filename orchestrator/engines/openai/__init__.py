"""The engine `openai`: endpoints that somebody else runs."""
