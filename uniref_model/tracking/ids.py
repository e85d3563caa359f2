"""Which object ids were given out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock

from ..errors import ObjectIdError
from ..limits import MAX_CHOSEN_IDS, check_name, quoted


class ObjectIds:
    """The registry of object ids. Its law: an id means one object, for ever.

    An id that was given out is never given out again, whatever became of its object, so who holds an old id
    can at worst find nothing. Automatic ids are the numbers "1", "2", … and cost no memory: a counter
    remembers them. Ids that callers choose are remembered one by one, at most MAX_CHOSEN_IDS of them; then
    only automatic ones are given out. Trackers that share objects share one registry. Safe between threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._next = 1  # every number below it was given out
        self._chosen: set[str] = set()  # but for those that the counter covers
        self.on_claim: Callable[[str | int], None] | None = None
        """Told of every id that is given out, an automatic one as a number, before whoever asked gets it."""

    def claim(self, wanted: str | None = None) -> str:
        """Give out the wanted id, or the next free number.

        Raises ObjectIdError: it is no id (not text, blank, too long, control characters), was given out
        before, or too many were chosen.
        """
        if wanted is not None:
            check_object_id(wanted)
        claimed = self._claim(wanted)
        if self.on_claim is not None:
            self.on_claim(int(claimed) if wanted is None else claimed)
        return claimed

    def restore(self, ids: Iterable[str | int]) -> None:
        """Take these for given out, by another process: chosen ids, and numbers that were automatic."""
        with self._lock:
            for one in ids:
                if isinstance(one, int):
                    self._next = max(self._next, one + 1)
                elif len(self._chosen) < MAX_CHOSEN_IDS:
                    self._chosen.add(one)
            self._chosen = {name for name in self._chosen if not 0 < _number(name) < self._next}

    def given_out(self) -> list[str | int]:
        """All that `restore` needs to know: the chosen ids, and the last automatic one."""
        with self._lock:
            return [*sorted(self._chosen), *([self._next - 1] if self._next > 1 else [])]

    def _claim(self, wanted: str | None) -> str:
        with self._lock:
            if wanted is None:
                return self._claim_number()
            if self._was_given(wanted):
                raise ObjectIdError(f"the object id {wanted!r} was used before; ids are never reused")
            if len(self._chosen) >= MAX_CHOSEN_IDS:
                raise ObjectIdError(
                    f"the object id {quoted(wanted)} would be one more than the limit of {MAX_CHOSEN_IDS} "
                    "chosen ids; give none, and one is assigned"
                )
            self._chosen.add(wanted)
            return wanted

    def give_back(self, object_id: str) -> None:
        """Take an id back for which no object was made. Only for who has just claimed it."""
        with self._lock:
            if object_id in self._chosen:
                self._chosen.remove(object_id)
            elif object_id == str(self._next - 1):  # else it stays used, which harms nobody
                self._next -= 1

    def was_given(self, object_id: str) -> bool:
        """Whether this id was given out, to an object that is there or was."""
        with self._lock:
            return self._was_given(object_id)

    def _claim_number(self) -> str:
        while str(self._next) in self._chosen:
            self._chosen.remove(str(self._next))  # covered by the counter from now on
            self._next += 1
        self._next += 1
        return str(self._next - 1)

    def _was_given(self, object_id: str) -> bool:
        return object_id in self._chosen or 0 < _number(object_id) < self._next


def check_object_id(object_id: object) -> str:
    """`object_id`, when it can be one: text that is not blank, at most MAX_NAME characters, no control
    characters. Raises ObjectIdError."""
    name = check_name(object_id, "the object id", ObjectIdError)
    if not name.strip():
        raise ObjectIdError(f"an object id must be a non-empty string, found {name!r}")
    return name


def _number(object_id: str) -> int:
    """The number that the counter would write so, 0 for anything else ("07", "٣")."""
    written = object_id.isascii() and object_id.isdigit() and object_id[0] != "0" and len(object_id) < 19
    return int(object_id) if written else 0
