"""Front door: parse, call app, print."""
