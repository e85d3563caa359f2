"""Views of known objects, encoded for one runtime: what an object is looked for with besides its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from weakref import WeakValueDictionary

import numpy as np

from ..errors import UniRefError
from ..known_objects import KnownObject, KnownObjects, View
from ..runtime.base import FrameFeatures, MaskReference, Runtime
from .frame_fit import FrameGeometry

CONSENT = 2.0
"""Times the odds of the threshold that the views' scores must reach on average. The threshold is that of one
look; a known object is looked for in every frame and with every view, and each look is one more chance to
take another thing for it: see docs/known_objects.md."""


@dataclass(frozen=True, eq=False)
class EncodedView:
    """A view as the network sees it. number: of the view, under its object's name."""

    number: int
    reference: MaskReference


@dataclass(frozen=True, eq=False)
class KnownViews:
    """All views of one known object. name: "" where the text is no known name. left_out: what could not be
    read, for people."""

    name: str = ""
    views: tuple[EncodedView, ...] = ()
    left_out: tuple[str, ...] = ()

    def agree(self, scores: Mapping[int, float], threshold: float) -> bool:
        """Whether the views taken together say that the thing is there. scores: the latest of each view, by
        its number; all must have been asked."""
        latest = [scores[view.number] for view in self.views if view.number in scores]
        needed = CONSENT * threshold / (1 + (CONSENT - 1) * threshold)  # as a probability
        return len(latest) == len(self.views) and sum(latest) > needed * len(latest)


NO_VIEWS = KnownViews()


@dataclass(frozen=True, eq=False)
class FittedFrame:
    """A picture at model size, encoded."""

    features: FrameFeatures
    geometry: FrameGeometry


def fit_and_encode(runtime: Runtime, image: np.ndarray, size: tuple[int, int] | None = None) -> FittedFrame:
    """image: uint8 RGB [h,w,3], of any size. size: (h, w) of the frame, where the image is a smaller picture
    of it."""
    geometry = FrameGeometry.fit(size or image.shape[:2], runtime.size, runtime.spec.resize)
    small = geometry.image_to_model(image, runtime.spec.mean)
    return FittedFrame(runtime.encode_fitted(small, (geometry.height, geometry.width)), geometry)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two boolean maps, 0 when both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 0.0


class ViewBank:
    """Encodes the views of known objects when an object is first looked for with them.

    A view is encoded once, whoever uses it, and let go when nobody follows its object any more: so what it
    keeps is bounded by the objects that are followed. Trackers on one runtime may share a bank. Safe between
    threads; encoding is done in the thread that asks, never in one that steps frames.
    """

    def __init__(self, runtime: Runtime, known: KnownObjects) -> None:
        self.known = known
        self._runtime = runtime
        self._lock = Lock()
        self._encoded: WeakValueDictionary[tuple, EncodedView] = WeakValueDictionary()

    def of(self, text: str) -> KnownViews:
        """The views of the object that this text names, newest `max_views`; `NO_VIEWS` for any other text."""
        item = self.known.find(text)
        return NO_VIEWS if item is None else self.encode(item, item.views[-self.known.max_views :])

    def encode(self, item: KnownObject, views: Sequence[View]) -> KnownViews:
        """These views of a known object; those that cannot be read are named and left out."""
        encoded, left_out = [], []
        with self._lock:
            for view in views:
                try:
                    encoded.append(self._encode(view))
                except UniRefError as error:
                    left_out.append(f"view {view.number} of {item.name!r} is left out: {error}")
        return KnownViews(item.name, tuple(encoded), tuple(left_out))

    def _encode(self, view: View) -> EncodedView:
        key = view.key, view.number, view.version
        found = self._encoded.get(key)
        if found is None:
            image, mask = self.known.read(view)
            frame = fit_and_encode(self._runtime, image)
            small = frame.geometry.mask_to_model(mask)
            reference = self._runtime.encode_reference(frame.features, small[None])[0]
            found = self._encoded[key] = EncodedView(view.number, reference)
        return found
