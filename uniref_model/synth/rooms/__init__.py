"""Furnished rooms and laid tables: staged, rendered once, and shot anew for each clip."""
