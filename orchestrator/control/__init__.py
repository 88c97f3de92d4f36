"""The loop that owns the fleet, and the effects it performs."""
