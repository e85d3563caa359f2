#!/usr/bin/env python3
"""Shows a thing once and calls it by name elsewhere; makes docs/known_objects.png.

    python3 examples/teach_and_call.py known_objects.png

Two things are taught from the first frame of a video, by a click, under names that no network knows. Then
each is called in the second half of its video, mirrored, dimmed and cropped, as after a restart. Without ROS.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from uniref_model import KnownObjects, Prompt, Tracker, load_runtime
from uniref_model.runtime.base import Runtime
from uniref_model.tracking.overlay import draw_overlay
from uniref_model.tracking.teaching import Teacher
from uniref_model.video import open_source

MEDIA = Path(__file__).resolve().parents[1] / "media"
WIDTH, TITLE = 400, 30  # pixels of one picture, and of the line over it


@dataclass(frozen=True)
class Scene:
    """A name, where its thing is clicked in a video's first frame, and from which frame on it is called."""

    name: str
    video: str
    click: tuple[float, float]
    called_at: int
    frames: int = 30


SCENES = (
    Scene("my gizmo", "box.mp4", (450, 130), called_at=228),
    Scene("part A7", "cup.mp4", (350, 300), called_at=108),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("picture", type=Path, help="the PNG to write")
    picture: Path = parser.parse_args().picture
    with load_runtime() as runtime, tempfile.TemporaryDirectory() as folder:
        rows = [np.hstack([teach(scene, runtime, folder), call(scene, runtime, folder)]) for scene in SCENES]
    cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def teach(scene: Scene, runtime: Runtime, folder: str) -> np.ndarray:
    """Keep what is clicked in the first frame under its name; a picture of that."""
    (image,) = frames(scene.video, 0, 1)
    tracker = Tracker(runtime)
    tracker.add(Prompt(points=[scene.click]), label=scene.name)
    shown = tracker.step(image)
    Teacher(runtime, KnownObjects(folder)).teach(scene.name, image, Prompt(mask=shown.label_image > 0))
    return titled(f'"this is {scene.name}"', draw_overlay(image, shown))


def call(scene: Scene, runtime: Runtime, folder: str) -> np.ndarray:
    """Follow the name with a new tracker that has the folder alone; a picture of the last frame."""
    tracker = Tracker(runtime, known=KnownObjects(folder))
    tracker.add_text(scene.name)
    for image in map(elsewhere, frames(scene.video, scene.called_at, scene.frames)):
        frame = tracker.step(image)
    return titled(f'"follow {scene.name}": elsewhere, after a restart', draw_overlay(image, frame))


def frames(video: str, first: int, count: int) -> list[np.ndarray]:
    source = open_source(str(MEDIA / video))
    try:
        return [picture.image for picture in islice(source, first, first + count)]
    finally:
        source.close()


def elsewhere(image: np.ndarray) -> np.ndarray:
    """The picture mirrored, dimmed, and cropped by a twelfth on every side."""
    height, width = image.shape[0] // 12, image.shape[1] // 12
    return (image[height:-height, width:-width][:, ::-1] * 0.7).astype(np.uint8)


def titled(text: str, image: np.ndarray) -> np.ndarray:
    small = cv2.resize(
        image, (WIDTH, round(image.shape[0] * WIDTH / image.shape[1])), interpolation=cv2.INTER_AREA
    )
    framed = cv2.copyMakeBorder(small, TITLE, 4, 4, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    cv2.putText(framed, text, (6, TITLE - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return framed


if __name__ == "__main__":
    main()
