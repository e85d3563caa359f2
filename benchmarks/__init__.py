"""Every figure and table of the documentation, each redrawn by one command: `python -m benchmarks list`."""
