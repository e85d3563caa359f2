"""`Tracker`: give it words, masks, clicks or boxes, then call `step` with every frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from threading import Lock
from time import perf_counter
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import CapacityError, ImageError, ObjectIdError
from ..known_objects import KnownObjects
from ..limits import check_name, quoted
from ..prompts import Prompt, check_image
from ..runtime.base import Runtime
from .aggregate import Aggregator, Share
from .config import THRESHOLDS, TrackerConfig
from .frame_pass import FramePass
from .ids import ObjectIds, check_object_id
from .objects import Target
from .types import FrameNote, TrackedFrame, TrackedObject
from .views import NO_VIEWS, KnownViews, ViewBank


class Tracker:
    """Follows up to `max_objects` objects through frames, in constant memory.

    Requests (`add_*`, `remove`, `clear`, `reanchor`) may come from any thread and take effect with the next
    `step`; they never wait for a frame being computed. Frames are stepped one at a time. An id is never
    reused in a Tracker's life (see `ObjectIds`).

    An object known by words is anchored where the words first saw it, which may have been the wrong thing. So
    words alone are asked again now and then (`rules.Streaming`): where they are much surer than at the
    anchor and mean what is tracked, the anchor is renewed; where they keep meaning something else, the object
    moves there.

    An object whose words are a known name (see `KnownObjects`) is looked for by its words and by its views,
    and checked by its views.
    """

    def __init__(
        self,
        runtime: Runtime,
        config: TrackerConfig | None = None,
        *,
        ids: ObjectIds | None = None,
        known: KnownObjects | ViewBank | None = None,
    ) -> None:
        """ids: the registry, where several trackers follow the same objects; whoever adds one to each of them
        then claims its id there first. None: a registry of its own. known: objects that may be called by
        name; a `ViewBank` where several trackers on one runtime share what is encoded."""
        self._runtime = runtime
        self._config = self._resolve(config or TrackerConfig())
        self._targets: dict[str, Target] = {}
        self._bank = ViewBank(runtime, known) if isinstance(known, KnownObjects) else known
        self._ids = ids or ObjectIds()
        self._shares_ids = ids is not None
        self._next_index = 0
        self._frame_size: tuple[int, int] | None = None
        self._notes: deque[FrameNote] = deque(maxlen=64)
        self._aggregator = Aggregator()
        self._lock = Lock()  # held for moments only, never while the network runs
        self._step_lock = Lock()

    @property
    def config(self) -> TrackerConfig:
        """The options in force, with the model's thresholds where none were given."""
        return self._config

    def configure(self, **changes: Any) -> TrackerConfig:
        """Change options between frames. Raises ValueError naming the bad one; nothing changes then."""
        with self._lock:
            self._config = self._changed(changes)
            return self._config

    def check(self, **changes: Any) -> None:
        """Raise what `configure` would now, and change nothing."""
        with self._lock:
            self._changed(changes)

    def _changed(self, changes: Mapping[str, Any]) -> TrackerConfig:
        unknown = sorted(set(changes) - {field.name for field in fields(TrackerConfig)})
        if unknown:
            raise ValueError(f"no tracker option {', '.join(unknown)}")
        config = self._resolve(replace(self._config, **changes))
        highest = max((target.slot for target in self._targets.values()), default=0)
        if config.max_objects < highest:
            raise ValueError(f"max_objects is {config.max_objects}, but slot {highest} is in use")
        return config

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(height, width) of the last stepped frame; masks, clicks and boxes are checked against it at
        once."""
        return self._frame_size

    @property
    def objects(self) -> tuple[TrackedObject, ...]:
        """Every object known now, as of the last frame, by slot; those just added are SEARCHING."""
        return tuple(target.last or target.public(None) for target in self._snapshot())

    @property
    def object_ids(self) -> tuple[str, ...]:
        """The ids of all objects, the last added last."""
        with self._lock:
            return tuple(self._targets)

    def add(self, prompt: Prompt, *, object_id: str | None = None, label: str | None = None) -> str:
        """Follow what a prompt means, from the next stepped frame on. Returns the id.

        Raises MaskError when it does not fit the frame, and what `add_text` raises.
        """
        if label is not None:
            check_name(label, "the label")
        if object_id is not None:
            check_object_id(object_id)
        given, text = prompt if prompt.drawn else None, prompt.text
        if given is not None and given.image is None and self._frame_size is not None:
            given.check(self._frame_size)
        language = None if text is None else self._runtime.encode_text(text)
        known = self._views_of(text or "")
        with self._lock:
            slot = self._free_slot()
            name = self._claim_id(object_id)
            target = Target(name, slot, label or text or name, text or "", language, given)
            self._targets[name] = target
            self._know(target, known)
            if language is not None and language.truncated:
                cut = f"was cut after {self._runtime.spec.max_words} word pieces"
                self._notes.append(FrameNote(name, "warning", f"the prompt {quoted(text or '')} {cut}"))
        return name

    def add_text(self, prompt: str, *, object_id: str | None = None, label: str | None = None) -> str:
        """Look for words. Returns the id.

        Raises PromptError, CapacityError, ObjectIdError, LimitError (the label). Texts are one line without
        control characters: prompts of at most MAX_TEXT, ids and labels of MAX_NAME characters.
        """
        return self.add(Prompt(prompt), object_id=object_id, label=label)

    def add_mask(
        self,
        mask: np.ndarray,
        *,
        image: np.ndarray | None = None,
        object_id: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> str:
        """Follow what a mask (bool or uint8 [h,w], non-zero = object) covers in the next stepped frame.

        image: the frame the mask belongs to, when that is an earlier one (uint8 RGB [h,w,3]); the object is
        then looked for in the next frame like any other. prompt: words for the same object, used together
        with the mask.
        Returns the id. Raises MaskError, ImageError and what `add_text` raises.
        """
        return self.add(Prompt(prompt, mask=mask, image=image), object_id=object_id, label=label)

    def add_points(
        self,
        points: Sequence[tuple[float, float]],
        labels: Sequence[int] | None = None,
        *,
        image: np.ndarray | None = None,
        object_id: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> str:
        """Follow what clicks (x, y) in pixels point at in the next stepped frame; labels 1 = on it, 0 = not
        on it.

        Answered in that same frame. Options, return value and errors as in `add_mask`.
        """
        return self.add(
            Prompt(prompt, points=points, labels=labels, image=image), object_id=object_id, label=label
        )

    def add_box(
        self,
        box: tuple[float, float, float, float],
        *,
        image: np.ndarray | None = None,
        object_id: str | None = None,
        label: str | None = None,
        prompt: str | None = None,
    ) -> str:
        """Follow what a box (x, y, width, height) in pixels holds in the next stepped frame. Otherwise as
        `add_points`."""
        return self.add(Prompt(prompt, box=box, image=image), object_id=object_id, label=label)

    def reanchor(self, object_id: str) -> None:
        """Make the next frame in which the object is seen well its first reference. Raises ObjectIdError."""
        with self._lock:
            self._find(object_id).reanchor = True

    def call(self, object_id: str, name: str, *, label: str | None = None) -> None:
        """Say that an object is the one known by this name: it is looked for with its views too, and labelled
        so, if no other label is given. Raises ObjectIdError."""
        check_name(name, "the name")
        known = self._views_of(name)
        with self._lock:
            target = self._find(object_id)
            target.label = label or name
            self._know(target, known)

    def refresh_known(self) -> None:
        """Look again at what is known of the objects that are followed: views may have come or gone."""
        for target in self._snapshot():
            known = self._views_of(target.known.name or target.prompt)
            if known.views != target.known.views or known.name != target.known.name:
                with self._lock:
                    self._know(target, known)

    def remove(self, object_id: str) -> None:
        """Forget one object. Raises ObjectIdError when there is none with this id."""
        with self._lock:
            del self._targets[self._find(object_id).id]

    def clear(self) -> list[str]:
        """Forget all objects; returns their ids in order of slot."""
        with self._lock:
            ids = [target.id for target in sorted(self._targets.values(), key=lambda target: target.slot)]
            self._targets.clear()
        return ids

    @property
    def model_size(self) -> tuple[int, int]:
        """(height, width) of the pictures that the network sees: a frame needs hardly more pixels."""
        return self._runtime.size

    def step(self, image: np.ndarray, *, size: tuple[int, int] | None = None) -> TrackedFrame:
        """Follow all objects into the next frame, uint8 [h,w,3] RGB.

        size: (height, width) of the frame where the image is a smaller picture of all of it, such as a JPEG
        that was decoded to half its size: clicks, boxes and masks, given and found, are in the frame's
        pixels. Raises ImageError for what is no such image. An error of the runtime passes through; every
        object and every reference given so far is then as before, and the next frame may be stepped.
        """
        check_image(image)
        size = _frame_size(image, size)
        with self._step_lock:
            start = perf_counter()
            self._frame_size = size
            with self._lock:
                config = self._config
            targets = self._snapshot()
            work = FramePass(self._runtime, config, self._aggregator, self._next_index)
            try:
                shares = work.run(image, targets, size)
            finally:  # a refused reference stays refused, also when the frame fails for another reason
                self._settle(work)
            return self._finish(work, targets, size, shares, start)

    def _settle(self, work: FramePass) -> None:
        with self._lock:
            for target in work.dropped:
                if self._targets.get(target.id) is target:
                    del self._targets[target.id]
            self._notes.extend(work.notes)

    def _finish(
        self,
        work: FramePass,
        targets: list[Target],
        size: tuple[int, int],
        shares: dict[str, Share],
        start: float,
    ) -> TrackedFrame:
        with self._lock:
            notes = tuple(self._notes)
            self._notes.clear()
        kept = [target for target in targets if target not in work.dropped]
        objects = tuple(target.public(shares.get(target.id)) for target in kept)
        for target, shown in zip(kept, objects, strict=True):
            target.last = shown
        self._next_index += 1
        return TrackedFrame(
            index=work.index,
            size=size,
            objects=objects,
            timings=MappingProxyType(work.timings | {"total": 1000 * (perf_counter() - start)}),
            notes=notes,
        )

    def _views_of(self, text: str) -> KnownViews:
        return NO_VIEWS if self._bank is None else self._bank.of(text)

    def _know(self, target: Target, known: KnownViews) -> None:
        target.known, target.strange_checks = known, 0
        if target.last is not None:
            target.last = replace(target.last, label=target.label, known=known.name)
        self._notes.extend(FrameNote(target.id, "warning", text) for text in known.left_out)

    def _free_slot(self) -> int:
        used = {target.slot for target in self._targets.values()}
        limit = self._config.max_objects
        if len(used) >= limit:
            raise CapacityError(
                f"{limit} objects are tracked, the most allowed (max_objects); remove one first"
            )
        return next(slot for slot in range(1, limit + 1) if slot not in used)

    def _claim_id(self, wanted: str | None) -> str:
        if wanted is None or not self._shares_ids or not self._ids.was_given(wanted):
            return self._ids.claim(wanted)
        if wanted in self._targets:
            raise ObjectIdError(f"the object id {wanted!r} is in use")
        return wanted

    def _find(self, object_id: str) -> Target:
        if object_id not in self._targets:
            known = ", ".join(self._targets) or "none"
            raise ObjectIdError(f"no object {quoted(object_id)}; there is {known}")
        return self._targets[object_id]

    def _snapshot(self) -> list[Target]:
        with self._lock:
            return sorted(self._targets.values(), key=lambda target: target.slot)

    def _resolve(self, config: TrackerConfig) -> TrackerConfig:
        spec = self._runtime.spec
        unset: dict[str, Any] = {
            name: getattr(spec, name) for name in THRESHOLDS if getattr(config, name) is None
        }
        if config.contours == "model":
            unset["contours"] = spec.contours
        return replace(config, **unset)


def _frame_size(image: np.ndarray, stated: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of the frame that an image shows. Raises ImageError where it cannot be all of it."""
    height, width = image.shape[:2]
    if stated is None:
        return height, width
    if stated[0] < height or stated[0] * width != stated[1] * height:
        raise ImageError(
            f"an image of {width}x{height} pixels is no smaller picture of a frame of "
            f"{stated[1]}x{stated[0]}: expected the same aspect"
        )
    return stated
