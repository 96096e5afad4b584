"""Worker processes beside the one front process: each runs batches of one version, and shares its weights with the others."""
