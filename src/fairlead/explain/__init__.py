"""Step 9: what a model is and which inputs matter."""
