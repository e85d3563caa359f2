"""Known objects in the node: read from their folder, encoded for its runtime, taught, published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from uniref_model.errors import UniRefError
from uniref_model.known_objects import KnownObject, KnownObjects, thumbnail
from uniref_model.prompts import Prompt
from uniref_model.runtime import Runtime
from uniref_model.tracking import TrackedObject, TrackerConfig
from uniref_model.tracking.teaching import Teacher
from uniref_model.tracking.views import ViewBank
from uniref_ros.camera import Camera, ProcessedImage
from uniref_ros.conversion import fill_jpeg
from uniref_ros.diagnostics import ErrorLog
from uniref_ros.executor import steady_timer
from uniref_ros.msg import KnownObject as KnownObjectMsg
from uniref_ros.msg import KnownObjectArray
from uniref_ros.qos import latched

_PERIOD = 1.0  # s between looks at the folder, where other programs may write
_JPEG = 85


@dataclass(frozen=True, eq=False)
class _NewSide:
    """A known object as none of its views shows it: uint8 RGB [h,w,3] and bool [h,w]."""

    name: str
    image: np.ndarray
    mask: np.ndarray


class Known:
    """There while the node is configured. `bank` is for its trackers, `teacher` for its commands."""

    def __init__(
        self,
        node: Node,
        runtime: Runtime,
        settings: Callable[[], Mapping[str, Any]],
        cameras: Callable[[], Mapping[str, Camera]],
        errors: ErrorLog,
    ) -> None:
        """settings: gives the node's parameters in force; cameras: gives its cameras, by name."""
        self._node, self._settings, self._cameras, self._errors = node, settings, cameras, errors
        folder = settings()["known_objects"]
        self.store = KnownObjects(
            Path(folder).expanduser() if folder else None, max_views=settings()["max_views"]
        )
        self.bank = ViewBank(runtime, self.store)
        self.teacher = Teacher(runtime, self.bank, self._config)
        self.offered = 0
        """Times that a known object was seen from a new side."""
        self._new_side: _NewSide | None = None
        self._told: object = None
        self._pictures: dict[tuple, CompressedImage] = {}  # by the view they show
        self._publisher = node.create_publisher(KnownObjectArray, "~/known_objects", latched())
        self._timer = steady_timer(node, _PERIOD, self._on_timer)
        self.tell()

    def destroy(self) -> None:
        """Take the topic away."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def facts(self) -> dict[str, Any]:
        """For diagnostics."""
        items, damaged = self.store.objects, self.store.damaged
        facts = {
            "known objects": len(items),
            "known objects: views": sum(len(item.views) for item in items),
            "known objects: new sides seen": self.offered,
        }
        return facts | {f"known objects: damaged {name}": text for name, text in list(damaged.items())[:5]}

    def tell(self) -> None:
        """Publish what is known, and say what is damaged, when either is different from what was told."""
        self.store.refresh()
        items, damaged = self.store.objects, dict(self.store.damaged)
        if (items, damaged) == self._told:
            return
        before = self._told[1] if isinstance(self._told, tuple) else {}
        self._told = items, damaged
        for camera in self._cameras().values():
            camera.tracker.refresh_known()
        for name, reason in damaged.items():
            if name not in before:
                self._errors.report("known objects", f"{name} in {self.store.folder} is left out: {reason}")
        message = KnownObjectArray(
            header=Header(stamp=self._node.get_clock().now().to_msg()),
            objects=[self._message(item) for item in items],
            damaged=[f"{name}: {reason}" for name, reason in damaged.items()],
        )
        there = {_newest(item) for item in items}
        self._pictures = {key: picture for key, picture in self._pictures.items() if key in there}
        self._publisher.publish(message)

    def observe(self, camera: Camera, shown: ProcessedImage) -> None:
        """Notice known objects that are seen from a new side. Called for every processed image."""
        choice = self._settings()["learn_views"]
        for item in shown.frame.objects:
            if item.looks_new and item.box is not None and choice != "off":
                self.offered += 1
                self._offer(camera, item, shown, choice)

    def _offer(self, camera: Camera, item: TrackedObject, shown: ProcessedImage, choice: str) -> None:
        text = f"{camera.topic}: object {item.id}, {item.known!r}, is seen from another side"
        if choice == "remark":
            self._node.get_logger().info(f'{text}: keep this view? Say "this is {item.known}"')
            return
        mask = shown.frame.label_image == item.slot
        self._new_side = _NewSide(item.known, shown.rgb, mask)  # of several the newest is learnt

    def _on_timer(self) -> None:
        try:
            self._learn()
            self.tell()
        except Exception as error:  # a folder that went away must not stop the timer
            self._errors.report_exception("known objects", error)

    def _learn(self) -> None:
        new, self._new_side = self._new_side, None
        if new is None:
            return
        item = self.store.find(new.name)
        if item is None or len(item.views) >= self.store.max_views:
            return  # what a person has shown never goes for what was learnt
        try:
            item = self.teacher.teach(new.name, new.image, Prompt(mask=new.mask))
        except UniRefError as error:
            self._node.get_logger().info(f"a new side of {new.name!r} was not kept: {error}")
        else:
            self._node.get_logger().info(f"kept a new side of {item.name!r}, now {len(item.views)} views")

    def _config(self) -> TrackerConfig:
        return next((one.tracker.config for one in self._cameras().values()), TrackerConfig())

    def _message(self, item: KnownObject) -> KnownObjectMsg:
        message = KnownObjectMsg(name=item.name, views=[view.number for view in item.views])
        key = _newest(item)
        if key not in self._pictures:
            try:
                picture = thumbnail(*self.store.read(item.views[-1]))
            except UniRefError:
                return message  # `damaged` says it, with the next look
            self._pictures[key] = fill_jpeg(CompressedImage(), picture, _JPEG, Header())
        message.picture = self._pictures[key]
        return message


def _newest(item: KnownObject) -> tuple:
    view = item.views[-1]
    return item.key, view.number, view.version
