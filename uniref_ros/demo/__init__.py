"""`make demo`: the node on a real video over real topics, and the record of it."""
