"""Step 8: observations -> findings."""
