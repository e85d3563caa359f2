"""Every error a caller may want to tell apart. All derive from `UniRefError`, whose text is fit to show to a
person."""

from __future__ import annotations


class UniRefError(Exception):
    """Base of all errors this package raises on purpose."""


class PromptError(UniRefError, ValueError):
    """A text prompt that holds nothing to look for."""


class MaskError(UniRefError, ValueError):
    """A mask, click or box that cannot be a reference: wrong shape, wrong type, empty, or outside the
    frame."""


class ImageError(UniRefError, ValueError):
    """A frame that is not a uint8 RGB image with at least one pixel."""


class ObjectIdError(UniRefError, ValueError):
    """An object id that is unknown, empty, or was used before."""


class KnownObjectError(UniRefError, ValueError):
    """A known object that cannot be taught, found or kept: a bad name, a view that does not show one thing,
    damaged files."""


class CapacityError(UniRefError):
    """One object more than `max_objects`."""


class ModelFileError(UniRefError):
    """A model file that is missing, truncated, or not the one its model.json describes."""


class RuntimeUnavailable(UniRefError):
    """A runtime whose library, device or model format is not present; the text says which and how to get
    it."""


class NetworkError(UniRefError):
    """The network ran, and its answer cannot be used: it holds numbers that are not finite."""


class SourceError(UniRefError):
    """A video, image, folder or camera that cannot be read, or an output that cannot be written."""


class AudioError(UniRefError, ValueError):
    """Audio that cannot be used: no such file or device, wrong rate or format, cut short."""
