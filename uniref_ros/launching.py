"""What the launch files share: switches, our nodes' environment, RViz's configuration, what must be there.

No rclpy, and no launch: plain values in and out.
"""

from __future__ import annotations

import copy
import math
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from uniref_model.limits import MAX_SETTINGS_BYTES
from uniref_model.outputs import temporary, told
from uniref_model.reading import read_text

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_BEFORE_KILTED = ("humble", "iron", "jazzy")
SUITED_TO_CONSOLE: dict[str, dict[str, Any]] = {
    # two seconds at 30 Hz, for a click takes its time over a slow link; and as many pictures as people need
    "tracker": {"held_images": 60, "overlay_rate": 15.0},
    "voice_command": {"source": "topic", "trigger": "push_to_talk"},
}
"""Parameters of other nodes that suit a console, by node."""
_NAME = re.compile(r"(~?/)?[A-Za-z_{][\w{}]*(/[A-Za-z_{][\w{}]*)*", re.ASCII)
_PER_CAMERA = ("Image", "MarkerArray", "PointCloud2")
"""RViz displays of which every camera has its own."""


def switch(name: str, text: str) -> bool:
    """A launch argument that is a switch, in any of the ways people and YAML write it. Raises ValueError."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"{name} is {text!r}, expected true or false")


def number(name: str, text: str, lowest: float, highest: float) -> float:
    """A launch argument that is a number. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not lowest <= value <= highest:
        raise ValueError(f"{name} is {text!r}, expected a number from {lowest:g} to {highest:g}")
    return value


def topic(name: str, text: str) -> str:
    """A launch argument that is a topic's name, or a namespace. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{name} is {text!r}, expected a name such as /camera/image_raw")
    return text


def split(text: str, separator: str) -> list[str]:
    """The parts of a list in one argument, without empty ones."""
    return [part.strip() for part in text.split(separator) if part.strip()]


def require_executables(package: str, *names: str) -> None:
    """Raise RuntimeError unless this ROS package is installed with these executables. Asked before any node
    is started: a launch that fails later leaves the nodes it has started behind."""
    try:
        folder = Path(get_package_prefix(package)) / "lib" / package
    except PackageNotFoundError as error:
        raise RuntimeError(
            f"package {package} is not installed ({_cure(package)}); nothing was started"
        ) from error
    for name in names:
        if not os.access(folder / name, os.X_OK):
            reason = f"package {package} has no executable {str(folder / name)!r}"
            raise RuntimeError(f"{reason} ({_cure(package)}); nothing was started")


def _cure(package: str) -> str:
    if package == "uniref_ros":
        return "build it again with colcon"
    return f"sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"


def require_file(name: str, path: str) -> str:
    """`path`, when it is a file. Raises RuntimeError."""
    if path and not Path(path).is_file():
        raise RuntimeError(f"{name}: there is no file {path!r}; nothing was started")
    return path


def joined_namespace(pushed: str, given: str) -> str:
    """The namespace that a node gets: `given` below the one a group has pushed, unless it is absolute."""
    return given if given.startswith("/") else f"{pushed.rstrip('/')}/{given}"


def large_images(share: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for processes that send or hear whole images: Fast DDS's default segment holds none, and
    malloc maps each one anew (ros_env/README.md). None where the user has a Fast DDS profile already."""
    old = environment.get("ROS_DISTRO", "") in _BEFORE_KILTED
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
    if variable in environment:
        return {}
    return {
        variable: os.path.join(share, "config", "fastdds_shm.xml"),
        "MALLOC_MMAP_THRESHOLD_": "268435456",
        "MALLOC_TRIM_THRESHOLD_": "1073741824",
        "MALLOC_TOP_PAD_": "67108864",
        "MALLOC_ARENA_MAX": "2",
    }


def rviz_view(
    config: Mapping[str, Any], namespace: str, cameras: Sequence[str], frame: str
) -> dict[str, Any]:
    """An RViz configuration for these cameras (none: the one without a name), in this namespace and frame.

    config: as config/tracker.rviz is, for one camera without namespace; it stays as it is.
    """
    view = copy.deepcopy(dict(config))
    manager = view["Visualization Manager"]
    root = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    displays = []
    for display in manager["Displays"]:
        if display["Class"].rsplit("/", 1)[-1] not in _PER_CAMERA:
            displays.append(display)
            continue
        displays += [_for_camera(display, root, camera) for camera in cameras or [""]]
    manager["Displays"] = displays
    if frame:
        manager["Global Options"]["Fixed Frame"] = frame
    return view


def _for_camera(display: Mapping[str, Any], root: str, camera: str) -> dict[str, Any]:
    shown = copy.deepcopy(dict(display))
    tracker, _, topic = shown["Topic"]["Value"].rpartition("/")
    shown["Topic"]["Value"] = root + "/".join(part for part in (tracker, camera, topic) if part)
    if camera:
        shown["Name"] = f"{shown['Name']}, {camera}"
    return shown


def write_rviz_view(template: str, namespace: str, cameras: Sequence[str], frame: str) -> str:
    """Write `rviz_view` of a template to a file that outlives this process; its path. Equal views have one
    file, so that launching again and again leaves no more of them. Raises SourceError."""
    config = yaml.safe_load(read_text(template, MAX_SETTINGS_BYTES))
    text = yaml.safe_dump(rviz_view(config, namespace, cameras, frame), sort_keys=False)
    name = f"uniref_ros_{os.getuid()}_{sha256(text.encode()).hexdigest()[:16]}.rviz"
    path = Path(tempfile.gettempdir(), name)
    part = temporary(path)
    try:
        with told(path):
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)  # a link that somebody else put there is not followed
    finally:
        part.unlink(missing_ok=True)
    return str(path)
