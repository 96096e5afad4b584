"""Step 5: original against candidate -> Verdict."""
