"""Two demo models and what is known about them; data, no code."""
