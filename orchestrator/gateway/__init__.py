"""HTTP: the OpenAI wire forms and values, and the admin API."""
