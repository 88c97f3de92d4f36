"""The set-up of a checkout: its virtual environment, pinned packages and the built llama-cpp-python."""
