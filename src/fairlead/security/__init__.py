"""Tools: sandbox, checks of foreign files, paths, digests."""
