"""Sketches of features: constant memory, made in one pass, merged in any order."""
