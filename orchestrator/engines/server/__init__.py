"""The engine `server`: any command that serves the OpenAI API, started, watched and stopped here."""
