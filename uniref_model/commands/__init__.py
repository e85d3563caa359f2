"""What the `uniref` commands do; `uniref_model.cli` only declares them."""
