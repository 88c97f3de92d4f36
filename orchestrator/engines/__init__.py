"""What runs models: one protocol, one adapter per engine."""
