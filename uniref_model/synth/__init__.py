"""Synthetic training clips: named objects in any colour, in motion, with masks and phrases that are true of
them.

`fetch()` downloads the source packages, `build_pack()` packs their pictures, `ClipGenerator` makes clips. No
torch here.
"""

FRAMES = 3
"""Frames of a clip: the two references, first and previous frame, and the current one."""
