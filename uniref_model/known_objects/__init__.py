"""Things that a person has shown once, kept on disk under a name: pictures with masks, which any model can be
shown again. No ROS, no network."""

from __future__ import annotations

from .names import check_known_name, name_key
from .records import KnownObject, View
from .store import KnownObjects, default_folder
from .views import check_view, contact_sheet, thumbnail

__all__ = [
    "KnownObject",
    "KnownObjects",
    "View",
    "check_known_name",
    "check_view",
    "contact_sheet",
    "default_folder",
    "name_key",
    "thumbnail",
]
