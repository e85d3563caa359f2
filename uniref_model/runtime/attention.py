"""Which objects see the same: those that refer to the same frames share their attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .base import MaskReference, ObjectReferences


def mask_references(item: ObjectReferences) -> tuple[MaskReference, ...]:
    """An object's mask references, none twice: all keys twice give the same result as once."""
    return tuple(dict.fromkeys(part for part in (item.first, item.previous) if part is not None))


def group_by_frames(
    objects: Sequence[ObjectReferences],
) -> Iterator[tuple[list[int], list[tuple[MaskReference, ...]]]]:
    """(rows, their mask references) of the objects that refer to the same frames, in order.

    Objects without mask reference are left out.
    """
    groups: dict[tuple[int, ...], tuple[list[int], list[tuple[MaskReference, ...]]]] = {}
    for row, item in enumerate(objects):
        references = mask_references(item)
        if references:
            rows, members = groups.setdefault(tuple(part.frame for part in references), ([], []))
            rows.append(row)
            members.append(references)
    yield from groups.values()
