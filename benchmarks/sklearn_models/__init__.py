"""The battery's models, by family."""
