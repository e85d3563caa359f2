"""Sub-commands of `uniref`, one file each; every file has `register(app)`."""
