"""Fairlead: from a trained model and a requirement to a proven, versioned, running endpoint."""

__version__ = "0.1.0"
