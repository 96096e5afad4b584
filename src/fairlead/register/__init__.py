"""Step 6: green Verdict -> immutable Version; aliases and rollback."""
