"""Passes: one file each, named by what it does."""
