"""What a sender may ask of us: every limit in one place.

A size that a file, message or person states is checked against these before it costs memory or time; whoever
refuses names the value and the limit. Where a user may need another value, a parameter (node) or option
(command) has it, with the value here as its default.
"""

from __future__ import annotations

import reprlib
import unicodedata

from uniref_model.errors import UniRefError

MAX_PIXELS = 64_000_000  # of a picture, mask, depth or video frame, as its header states them
MAX_SCANS = 16  # of a JPEG of as many pixels as are allowed, more of a smaller one; programs write up to 10
MAX_UNPACKED = 64_000_000  # bytes of the packed texts of a PNG, were each as large as it can be
MAX_FILE_BYTES = 512 * 1024 * 1024  # of one picture or mask file, or one compressed image
MAX_SETTINGS_BYTES = 1024 * 1024  # of one file of settings
MAX_CHUNK_BYTES = MAX_FILE_BYTES  # of a bag's chunk, record or message, packed and unpacked
MAX_HELD_BYTES = 2 * 1024**3  # of a bag's chunks whose times overlap: they are unpacked at the same time
MAX_UNPACKED_BYTES = 64 * 1024**3  # of a bag that is compressed file by file, unpacked onto the disk
MAX_METADATA_BYTES = 16 * 1024 * 1024  # of a bag's metadata.yaml; 1000 files need 300 KB
MAX_ANNOTATION_BYTES = 4 * 1024**3  # of one file of a data set's annotations; COCO's has 450 MB
MAX_PIPED_BYTES = 64 * 1024 * 1024  # of what is no ordinary file and is read whole: a pipe, a device
MAX_TEXT = 1_000  # characters of a prompt or expression
MAX_NAME = 200  # characters of an object id, a label or a name
MAX_QUOTED = 80  # characters of foreign text that are repeated in a message or log line
MAX_POINTS = 1_000  # clicks of one command
MAX_CHOSEN_IDS = 100_000  # object ids chosen by callers in one tracker's life: 10 MB, at most 30 MB
MAX_THREADS = 256  # of a runtime; processes and workers of a command
MAX_KNOWN_NAME = 60  # characters of a known object's name, which is a folder's name too
MAX_KNOWN_OBJECTS = 1_000  # names in one folder of known objects
MAX_VIEWS = 64  # of a known object that anybody may ask for
MAX_VIEW_PIXELS = 1_000_000  # of a view as it is kept: larger pictures are shrunk


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


def check_text(text: object, what: str, limit: int = MAX_TEXT, error: type[UniRefError] = LimitError) -> str:
    """`text`, when it can be shown in one line and is no longer than `limit` characters.

    what: for the error, such as "the prompt". Raises `error`: for what is no str, for one that is too long,
    and for control characters, line ends, marks that turn the direction of writing, and halves of characters
    (surrogates, as file names that are no UTF-8 have).
    """
    if not isinstance(text, str):
        raise error(f"{what} must be text, found {type(text).__name__}")
    if len(text) > limit:
        raise error(f"{what} has {len(text)} characters, more than the limit of {limit}: {quoted(text)}")
    bad = next((letter for letter in text if _is_unshowable(letter)), None)
    if bad is not None:
        kind = "half a character" if unicodedata.category(bad) == "Cs" else "a control character"
        raise error(f"{what} {quoted(text)} holds {kind} (U+{ord(bad):04X}), expected plain text")
    return text


def check_name(name: object, what: str, error: type[UniRefError] = LimitError) -> str:
    """As `check_text`, for an object id, a label or a name: at most MAX_NAME characters."""
    return check_text(name, what, MAX_NAME, error)


def check_count(count: int, what: str, limit: int, error: type[UniRefError] = LimitError) -> None:
    """Refuse more of something than allowed. what: in the plural, such as "points". Raises `error`."""
    if count > limit:
        raise error(f"{count} {what}, more than the limit of {limit}")


def quoted(text: object, limit: int = MAX_QUOTED) -> str:
    """Foreign text fit for a message: its repr (no control characters), clipped to `limit` characters."""
    whole = str(text)
    return repr(whole) if len(whole) <= limit else f"{whole[:limit]!r}… ({len(whole)} characters)"


def shown(value: object) -> str:
    """Any value out of a file, fit for a message: its repr, bounded in depth and length before it is made. A
    few nested YAML anchors stand for more than fits into memory."""
    short = reprlib.Repr()
    short.maxlevel = short.maxlist = short.maxtuple = short.maxdict = short.maxset = 4
    short.maxstring = short.maxother = short.maxlong = MAX_QUOTED
    return short.repr(value)


def printable(text: str) -> str:
    """Text for a terminal: lines stay, any other control character is written as Python writes it."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def clipped(text: str, limit: int = MAX_QUOTED) -> str:
    """Text that was checked before, cut to `limit` characters where it is repeated again and again."""
    return text if len(text) <= limit else f"{text[:limit]}…"


_TURNS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}  # what follows is shown in another order


def _is_unshowable(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or ord(letter) in _TURNS
