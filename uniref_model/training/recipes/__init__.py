"""Whole runs, each read from top to bottom: `nano` on clips, `paper` on the published data sets."""
