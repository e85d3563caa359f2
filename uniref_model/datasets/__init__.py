"""Published data sets and plain folders as they lie on disk: what evaluation and training read."""
