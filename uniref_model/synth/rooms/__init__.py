"""Furnished rooms and laid tables: laid out, rendered once, and shot anew for each clip."""
