"""The release's number, where everything below the package root can read it."""

__version__ = "0.1.0"
