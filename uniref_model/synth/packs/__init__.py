"""Where pictures come from: the source packages, and the packed sprites made of them."""
