"""The collector: CloudEvents of other servers' payload loggers to answered requests. It answers no inference."""
