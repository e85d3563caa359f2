"""A diagnostic status, and texts that are fit for one and for a log, whoever wrote what is in them."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

_MAX_KEY, _MAX_VALUE = 120, 500  # characters of a key, of a value or message


def plain(text: object, limit: int = _MAX_VALUE) -> str:
    """Text for a log line or a status, whatever a sender put into it: control characters are written as
    escapes, and what is longer than `limit` characters is clipped and says so."""
    whole = str(text)
    clipped = whole if len(whole) <= limit else f"{whole[:limit]}… ({len(whole)} characters)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in clipped)


def make_status(name: str, level: bytes, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    """A status whose texts hold no control characters and are of bounded length, whatever a sender gave."""
    pairs = [KeyValue(key=plain(key, _MAX_KEY), value=plain(value)) for key, value in values.items()]
    return DiagnosticStatus(
        level=level, name=plain(name), message=plain(message), hardware_id="uniref_ros", values=pairs
    )
