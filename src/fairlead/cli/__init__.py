"""Front door: parse, call app, print. Holds no logic; what it shows comes from `app`."""
