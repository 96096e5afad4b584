"""Load: how much a server answers, how fast, and whether rightly."""
