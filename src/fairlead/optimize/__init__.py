"""Step 4: passes over a canonical model."""
