"""What a sender may ask of us: every limit in one place.

A size that a file, message or person states is checked against these before it costs memory or time; whoever
refuses names the value and the limit. Where a user may need another value, a parameter (node) or option
(command) has it, with the value here as its default.
"""

from __future__ import annotations

from uniref_model.errors import UniRefError

MAX_PIXELS = 64_000_000  # of a picture, mask, depth image or video frame, as its header states them
MAX_FILE_BYTES = 512 * 1024 * 1024  # of one picture or mask file, or one compressed image
MAX_TEXT = 1_000  # characters of a prompt or expression
MAX_NAME = 200  # characters of an object id, a label or a name
MAX_QUOTED = 80  # characters of foreign text that are repeated in a message or log line
MAX_POINTS = 1_000  # clicks of one command
MAX_THREADS = 256  # of a runtime


class LimitError(UniRefError):
    """Something is larger than allowed; the message names the value and the limit."""


def check_pixels(width: int, height: int, what: str, limit: int = MAX_PIXELS) -> None:
    """Refuse a stated size over `limit` pixels, or none at all, before anything is decoded.

    Raises:
        LimitError: it is too large, or not positive.
    """
    if width <= 0 or height <= 0:
        raise LimitError(f"{what} states a size of {width}x{height} pixels")
    if width * height > limit:
        raise LimitError(
            f"{what} states {width}x{height} pixels ({width * height / 1e6:.1f} megapixels), more than the "
            f"limit of {limit / 1e6:.1f} megapixels"
        )


def quoted(text: object, limit: int = MAX_QUOTED) -> str:
    """Foreign text fit for a message: its repr (no control characters), clipped to `limit` characters."""
    whole = str(text)
    return repr(whole) if len(whole) <= limit else f"{whole[:limit]!r}… ({len(whole)} characters)"
