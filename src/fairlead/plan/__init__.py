"""Step 2: facts, requirements and target -> ordered candidates with reasons. Pure."""
