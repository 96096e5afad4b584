"""Step 10: a version in the form that another system takes."""
