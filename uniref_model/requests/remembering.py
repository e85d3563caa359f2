"""Keeps a session as it goes on, and takes it up again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock

from ..errors import UniRefError
from ..limits import quoted
from ..prompts import Prompt
from ..tracking.ids import ObjectIds
from ..tracking.types import TrackedObject
from .camera import Camera, ProcessedImage
from .session import CameraRecord, ObjectRecord, Session, SessionFolder

_Key = tuple[str, str]  # a camera's name and an object's id
_TIDY = 10_000
"""Ids after which their list is written anew: of automatic ones only the last has to be in it."""


class Remembering:
    """Ids, words, labels, anchors and pause of what the cameras follow.

    An id is on disk before anybody gets it; everything else with the next `flush`, which whoever carries out
    requests calls before it answers. Anchors made of a frame are noted by `observe` and written by the next
    `flush`. What cannot be restored (a camera that is not there, a model without words) is kept for the next
    time. Safe between threads.
    """

    def __init__(
        self,
        folder: SessionFolder,
        cameras: Callable[[], Mapping[str, Camera]],
        ids: ObjectIds,
        enabled: Callable[[], bool],
        report: Callable[[str], None],
    ) -> None:
        """report: told of what goes wrong and stops nothing."""
        self._folder, self._cameras, self._ids = folder, cameras, ids
        self._enabled, self._report = enabled, report
        self._lock, self._ids_lock = Lock(), Lock()
        self._noted = 0  # ids since their list was written
        self._new: dict[_Key, Prompt] = {}  # anchors to be written, the newest of each object
        self._anchors: dict[_Key, ObjectRecord] = {}  # those that are written
        self._dormant: list[tuple[str, ObjectRecord]] = []
        self._written: Session | None = None
        self._next = 1
        self.prompts: tuple[str, ...] = ()
        """What was asked for from the start, in this session."""

    def restore(self) -> Session | None:
        """Take up what was followed: objects are SEARCHING, with their anchors, under their ids. Returns the
        session, None where there was none."""
        session, fault = self._folder.load()
        if fault:
            self._report(fault)
        self._ids.restore(self._folder.load_ids())
        self._folder.begin_ids(self._ids.given_out())
        self._ids.on_claim = self._note_id
        if session is None:
            return None
        self._next, self.prompts = session.next, session.prompts
        for camera in session.cameras:
            for record in camera.objects:
                self._restore(camera.name, record)
        return session

    def added(self, camera: Camera, object_id: str, prompt: Prompt) -> None:
        """Note an object that was added; its anchor, where the prompt has its own picture."""
        if prompt.image is not None:
            with self._lock:
                self._new[camera.name, object_id] = prompt

    def observe(self, camera: Camera, shown: ProcessedImage) -> None:
        """Note the anchors that a frame became."""
        for item in shown.frame.objects:
            if item.anchored and item.box is not None:
                mask = shown.frame.label_image == item.slot
                with self._lock:
                    self._new[camera.name, item.id] = Prompt(mask=mask, image=shown.rgb)

    def flush(self) -> None:
        """Write what is different from what is on disk. Raises SourceError; it is tried again next time."""
        with self._lock:
            there = {
                (name, item.id): item
                for name, camera in self._cameras().items()
                for item in camera.tracker.objects
            }
            self._new = {key: prompt for key, prompt in self._new.items() if key in there}
            for key, prompt in list(self._new.items()):
                fields = self._folder.write_anchor(self._next, prompt)
                self._anchors[key] = ObjectRecord(there[key].id, there[key].label, **fields)
                self._next += 1
                del self._new[key]
            self._anchors = {key: anchor for key, anchor in self._anchors.items() if key in there}
            session = self._session(there)
            if session != self._written:
                self._folder.save(session)
                self._written = session

    def close(self) -> None:
        """Let the folder go; nothing is noted any more."""
        self._ids.on_claim = None
        self._folder.close()

    def _session(self, there: Mapping[_Key, TrackedObject]) -> Session:
        records = []
        for name, camera in self._cameras().items():
            found = (there.get((name, object_id)) for object_id in camera.tracker.object_ids)
            objects = [self._record(name, item) for item in found if item is not None]
            objects += [record for owner, record in self._dormant if owner == name]
            records.append(CameraRecord(name, tuple(objects)))
        absent = dict.fromkeys(owner for owner, _ in self._dormant if owner not in self._cameras())
        for name in absent:
            records.append(CameraRecord(name, tuple(r for owner, r in self._dormant if owner == name)))
        return Session(self._enabled(), self._next, self.prompts, tuple(records))

    def _record(self, camera: str, item: TrackedObject) -> ObjectRecord:
        anchor = self._anchors.get((camera, item.id), ObjectRecord(item.id, item.label))
        return replace(anchor, label=item.label, text=item.prompt, known=item.known)

    def _restore(self, camera_name: str, record: ObjectRecord) -> None:
        camera = self._cameras().get(camera_name)
        if camera is None:
            self._dormant.append((camera_name, record))
            self._report(f"object {record.id} belongs to camera {camera_name!r}, which is not there")
            return
        key = camera_name, record.id
        try:
            try:
                prompt = self._folder.read_prompt(record)
                self._anchors[key] = record
            except UniRefError as error:
                if not record.text:
                    raise
                prompt = Prompt(record.text)
                self._report(f"the anchor of object {record.id} cannot be read: {error}")
            camera.tracker.add(prompt, object_id=record.id, label=record.label)
            if record.known:
                camera.tracker.call(record.id, record.known, label=record.label)
        except UniRefError as error:
            self._anchors.pop(key, None)
            if record.text or record.picture:
                self._dormant.append((camera_name, record))
            self._report(f"object {record.id} ({quoted(record.label)}) cannot be taken up again: {error}")

    def _note_id(self, object_id: str | int) -> None:
        try:
            with self._ids_lock:
                self._folder.add_id(object_id)
                self._noted += 1
                if self._noted >= _TIDY:
                    self._folder.begin_ids(self._ids.given_out())
                    self._noted = 0
        except UniRefError as error:  # a full disk is no reason not to follow something
            self._report(f"the id {str(object_id)!r} may be given out again after a restart: {error}")
