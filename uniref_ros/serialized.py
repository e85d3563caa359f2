"""How many points a TrackCommand states, read from its bytes before they become a message.

rclpy makes a Python object of each point, so a command of a million stops every callback for seconds. The
type's bound holds who sends a message, not who sends bytes, as a player of recorded ones does: Fast DDS looks
at it when a message is written and not when it is read. The bytes are CDR: a header of four, then the fields
one after the other, numbers aligned to their own size.
"""

from __future__ import annotations

import struct

_ORDERS = {0: ">", 1: "<", 6: ">", 7: "<"}  # by the second byte: plain CDR, and plain CDR 2
_BEFORE_POINTS = "B II s s s s s II s II s B I s".replace(" ", "")
"""TrackCommand's fields before `points`, its Header and Image laid out flat: B and I are numbers of one and
four bytes, s a string or bytes, whose length comes first."""


def stated_points(data: bytes) -> int:
    """The number of points of a serialized TrackCommand; 0 when it cannot be read, which is for whoever
    deserializes it to say."""
    order = _ORDERS.get(data[1]) if len(data) > 4 and data[0] == 0 else None
    if order is None:
        return 0
    body, at = memoryview(data)[4:], 0

    def number() -> int:
        nonlocal at
        at = -(-at // 4) * 4 + 4
        return struct.unpack_from(order + "I", body, at - 4)[0]

    try:
        for kind in _BEFORE_POINTS:
            if kind == "B":
                at += 1
                continue
            value = number()
            if kind == "s":
                at += value
        return number()
    except struct.error:
        return 0
