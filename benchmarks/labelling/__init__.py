"""Labelling many recordings."""
