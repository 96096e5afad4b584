"""The statistics that a release decides by: pure functions from counts to decisions, with no clock, store or thread."""
