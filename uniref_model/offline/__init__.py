"""Recordings instead of a camera: what is followed, where the frames come from, and the files that the
results go to. `session.Session` is what `uniref track` and `uniref label` are made of."""
