"""The search over passes: what can be tried on a model, what to try next, what is best. Pure; `app` runs the trials."""
