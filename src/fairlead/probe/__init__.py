"""Beside the steps: a running server, asked from outside. Knows the protocol, and nothing of what serves it."""
