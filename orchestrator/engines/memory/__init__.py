"""What memory there is on this machine, and who takes it."""
