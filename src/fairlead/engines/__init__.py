"""Tools: run one model of one format; the only stopwatch."""
