"""Conformance: whether a server does what the Open Inference Protocol V2 says, line by line."""
