"""How much a browser may send, and how much it is sent: an allowance, and a window that follows the link."""

from __future__ import annotations

_MOST_FLYING = 32  # pictures on their way at most: 30 a second over a link of a second
_FIRST_FLYING = 2.0
_QUEUED = 0.1  # s. A picture that takes this much longer than the fastest one has waited behind others
_BACK_OFF = 0.7
_MEMORY = 10.0  # s for which the fastest trip counts, twice over: a link may change


class Allowance:
    """A bucket that fills at a steady rate and holds a burst."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """rate: a second. burst: what it holds, and begins with. now: seconds of any steady clock."""
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take so much out; False, and nothing taken, when there is less in it."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < amount:
            return False
        self._left -= amount
        return True


class Window:
    """How many pictures may be on their way to one browser, so that the link is used and nothing queues.

    The browser acknowledges what it has decoded. While trips take as long as the fastest one, more may fly at
    once; when they take longer, pictures wait somewhere on the way and would be old when they are shown, so
    fewer may.
    """

    def __init__(self) -> None:
        self._size = _FIRST_FLYING
        self._flying: dict[int, float] = {}
        self._starting = True
        self._fastest = self._fastest_lately = float("inf")
        self._renewed = 0.0

    @property
    def size(self) -> int:
        """Pictures that may fly at once."""
        return int(self._size)

    def has_room(self) -> bool:
        """Whether one more may be sent."""
        return len(self._flying) < self.size

    def sent(self, number: int, now: float) -> None:
        """One was sent, under a number of its own."""
        self._flying[number] = now

    def arrived(self, number: int, now: float) -> bool:
        """The browser says it has this one; False when it was never sent, or was acknowledged before."""
        since = self._flying.pop(number, None)
        if since is None:
            return False
        trip = now - since
        self._note(trip, now)
        if trip > self._fastest + _QUEUED:
            self._size = max(1.0, self._size * _BACK_OFF)
            self._starting = False
        else:
            self._size = min(_MOST_FLYING, self._size + (1.0 if self._starting else 1.0 / self._size))
        return True

    def oldest(self, now: float) -> float:
        """Seconds for which the oldest one is on its way; 0 when none is."""
        return max((now - since for since in self._flying.values()), default=0.0)

    def _note(self, trip: float, now: float) -> None:
        if now - self._renewed > _MEMORY:
            self._fastest, self._fastest_lately = self._fastest_lately, float("inf")
            self._renewed = now
        self._fastest_lately = min(self._fastest_lately, trip)
        self._fastest = min(self._fastest, self._fastest_lately)
