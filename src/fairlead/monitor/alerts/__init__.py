"""Alerts: when findings become one, whom it is told to, and in which form."""
