"""Step 7: the data plane and the transports in front of it."""
