"""Cost: ours beside memory-bank methods, over time and over objects."""
