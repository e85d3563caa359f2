"""Carries out what browsers ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uniref_model.limits import quoted
from uniref_ros.console.clients import TrackerClient, at_points, in_box
from uniref_ros.console.orders import (
    Box,
    Click,
    Enable,
    Forget,
    Order,
    OrderError,
    Reanchor,
    Remove,
    Say,
    Teach,
)
from uniref_ros.console.scene import Scene
from uniref_ros.console.sight import Seen


@dataclass(frozen=True)
class Reply:
    """What became of an order. message: the node's own words where it gave some. object_id: whom it concerns.
    added: whether that object is new."""

    ok: bool
    message: str
    object_id: str = ""
    added: bool = False


class Desk:
    """`carry_out` is for the server's loop; it raises UniRefError for what cannot be done."""

    def __init__(self, tracker: TrackerClient, scene: Scene) -> None:
        self._tracker = tracker
        self._scene = scene

    async def carry_out(self, order: Order) -> Reply:
        """Do what a browser asks for, and say what the node said."""
        match order:
            case Click(not_that=True):
                return await self._refine(order)
            case Click():
                return await self._follow(order)
            case Box():
                return _added(await self._tracker.add(in_box(order)))
            case Say(text=text):
                self._tracker.say(text)
                return Reply(True, f"said {quoted(text)}")
            case Remove(object_id=object_id):
                answer = await self._tracker.remove(object_id)
                return Reply(answer.success, answer.message, object_id)
            case Reanchor(object_id=object_id):
                self._tracker.reanchor(object_id)
                return Reply(True, f"{object_id} is anchored anew when it is next seen well", object_id)
            case Teach(object_id=object_id, name=name):
                return _done(await self._tracker.teach(object_id, name))
            case Forget(name=name):
                return _done(await self._tracker.forget_known(name))
            case Enable(on=on):
                return _done(await self._tracker.set_enabled(on))

    async def _follow(self, click: Click) -> Reply:
        seen = self._seen(click)
        if seen is not None:
            return Reply(True, f"object {seen.id} is followed already", seen.id)
        return _added(await self._tracker.add(at_points(click.camera, click.stamp, (click.x, click.y, True))))

    async def _refine(self, click: Click) -> Reply:
        """Follow the object under the click anew, from this image on and without this place. The old one is
        removed only when the new one is there: a refusal loses nothing."""
        seen = self._seen(click)
        if seen is None:
            raise OrderError("no object that is followed is there: first click what to follow")
        middle = seen.middle_away_from(click.x, click.y)
        if middle is None:
            raise OrderError(f"all of object {seen.id} is near that place: remove it instead")
        names = {"label": seen.label if seen.label not in (seen.prompt, seen.id) else "", "text": seen.prompt}
        points = (*middle, True), (click.x, click.y, False)
        answer = await self._tracker.add(at_points(click.camera, click.stamp, *points, **names))
        if answer.success:
            await self._tracker.remove(seen.id)
        return _added(answer)

    def _seen(self, click: Click) -> Seen | None:
        camera = self._scene.cameras.get(click.camera)
        if camera is None:
            raise OrderError(f"there is no camera {quoted(click.camera)}")
        seen = camera.sight.at(click.stamp, click.x, click.y)
        return seen if seen is not None and seen.id in camera.ids() else None


def _done(answer: Any) -> Reply:
    return Reply(answer.success, answer.message)


def _added(answer: Any) -> Reply:
    return Reply(answer.success, answer.message, answer.object_id, added=answer.success)
