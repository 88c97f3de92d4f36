"""An engine and a machine for tests: time, memory and faults as they are told."""
