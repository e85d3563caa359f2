"""Every parameter of the tracker node: default, description, range, and when a change takes effect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from uniref_model.known_objects.store import DEFAULT_VIEWS
from uniref_model.limits import MAX_NAME, MAX_PIXELS, MAX_THREADS, MAX_VIEWS
from uniref_model.tracking import TrackerConfig
from uniref_model.tracking.config import PROTOCOLS
from uniref_ros.parameter_rules import Option, fault_of

_DEFAULTS = TrackerConfig()
MODELS_OWN = -1.0
"""Value of a threshold parameter that means: what the model's own model.json says."""

_LEAST_RATE = 0.001  # images/s; less is meant as none
_MOST_CAMERAS = 64
_CAMERA = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)*", re.ASCII)


def _rate_fault(rate: float) -> str:
    return f"0 or at least {_LEAST_RATE}" if 0 < rate < _LEAST_RATE else ""


def _cameras_fault(names: list[str]) -> str:
    if len(names) > _MOST_CAMERAS:
        return f"at most {_MOST_CAMERAS} names"
    if len(set(names)) < len(names):
        return "each name once"
    if any(name and (len(name) > MAX_NAME // 2 or not _CAMERA.fullmatch(name)) for name in names):
        return (
            f"names of at most {MAX_NAME // 2} letters, digits and _ that begin with a letter, such as front "
            "or arm/left; or one empty name"
        )
    return ""


def _prefix_fault(prefix: str) -> str:
    good = len(prefix) <= MAX_NAME and prefix.isprintable() and " " not in prefix and prefix[:1] != "/"
    return "" if good else f"at most {MAX_NAME} characters, no space and no / before them"


OPTIONS: tuple[Option, ...] = (
    Option("autostart", True, "Configure and activate the node by itself.", when="start"),
    Option(
        "cameras",
        [""],
        "Names of the cameras. A name is put before the topics image, camera_info and depth; the empty name "
        "leaves them as they are.",
        when="configure",
        fault=_cameras_fault,
    ),
    Option(
        "image_transport",
        "raw",
        "Subscribe to image (raw) or to image/compressed (compressed), which follows a remapping of image.",
        choices=("raw", "compressed"),
        when="configure",
    ),
    Option(
        "image_reliability",
        "best_effort",
        "Quality of service of the image subscription; best_effort hears every publisher.",
        choices=("best_effort", "reliable"),
        when="start",
    ),
    Option(
        "output_reliability",
        "reliable",
        "Quality of service of what the node publishes for every image; reliable serves every subscriber.",
        choices=("reliable", "best_effort"),
        when="start",
    ),
    Option(
        "model",
        "uniref_nano",
        "A shipped model's name, or the folder of an exported model.",
        when="configure",
    ),
    Option(
        "size", "", "Model size HEIGHTxWIDTH, such as 192x320; empty: the model's first.", when="configure"
    ),
    Option(
        "runtime",
        "auto",
        "auto, onnxruntime, openvino, tensorrt or torch. auto takes torch for .safetensors files, else "
        "TensorRT where a GPU is found and its engines pass their check, else ONNX Runtime on CUDA, else "
        "OpenVINO where it is installed, passes and is faster here, else ONNX Runtime; diagnostics say which "
        "and why.",
        when="configure",
    ),
    Option(
        "device",
        "auto",
        "Where the network runs: auto takes a GPU where it can be used. cpu also keeps auto from TensorRT. "
        "gpu and npu are Intel's, through OpenVINO.",
        choices=("auto", "cpu", "cuda", "gpu", "npu"),
        when="configure",
    ),
    Option(
        "precision",
        "auto",
        "What the network computes in, where the runtime has the choice and the results pass its check; "
        "auto: the runtime's own, fp32 on a CPU.",
        choices=("auto", "fp32", "fp16", "bf16"),
        when="configure",
    ),
    Option(
        "threads", 0, "CPU threads of the runtime; 0: its own choice.", (0, MAX_THREADS), when="configure"
    ),
    Option(
        "warm_up",
        1,
        "Objects for which the network is run once while configuring, so that no image waits for it; more "
        "take longer to configure, and memory. 0: none.",
        (0, 255),
        when="configure",
    ),
    Option(
        "prompts",
        [""],
        "Objects to look for from the start, one prompt each; empty ones are skipped.",
        when="configure",
    ),
    Option("max_objects", _DEFAULTS.max_objects, "Objects a camera; one more is refused.", (1, 255)),
    Option(
        "references",
        _DEFAULTS.references,
        "Mask references the network sees.",
        choices=("first", "previous", "first+previous"),
    ),
    Option(
        "contours",
        _DEFAULTS.contours,
        "Masks as the network draws them, or with contours that follow the image's colours; model: what the "
        "model's model.json recommends.",
        choices=("model", "network", "colour"),
    ),
    Option(
        "mask_threshold",
        MODELS_OWN,
        "Score above which what is followed, or was, counts as seen; below 0: the model's own.",
        (MODELS_OWN, 1.0),
    ),
    Option(
        "language_threshold",
        MODELS_OWN,
        "Score above which words alone find an object; below 0: the model's own.",
        (MODELS_OWN, 1.0),
    ),
    Option(
        "view_threshold",
        MODELS_OWN,
        "Score above which a mask of another picture (a known object's view) finds its object; below 0: the "
        "model's own.",
        (MODELS_OWN, 1.0),
    ),
    Option(
        "lost_after",
        _DEFAULTS.lost_after,
        "Images without the object until TRACKED becomes LOST.",
        (1, 100000),
    ),
    Option(
        "min_area",
        _DEFAULTS.min_area,
        "A mask of fewer pixels of the model-size image never becomes a reference.",
        (1, 100000),
    ),
    Option(
        "anchor_after",
        _DEFAULTS.anchor_after,
        "Images in a row in which words alone must find an object before it is anchored.",
        (1, 1000),
    ),
    Option(
        "reanchor_margin",
        _DEFAULTS.reanchor_margin,
        "How much surer words alone must be than at the anchor, while disagreeing with the mask, "
        "to anchor anew.",
        (0.0, 1.0),
    ),
    Option(
        "reanchor_after",
        _DEFAULTS.reanchor_after,
        "For how many such checks in a row; 0 never anchors anew.",
        (0, 1000),
    ),
    Option(
        "recheck_every",
        _DEFAULTS.recheck_every,
        "Images between such checks that cost extra time; 0: only checks that cost none.",
        (0, 100000),
    ),
    Option(
        "reference_protocol",
        _DEFAULTS.reference_protocol,
        "streaming is made for cameras; authors follows the rules behind the authors' numbers on recorded "
        "videos, and min_area, anchor_after and the re-anchoring parameters then play no part.",
        choices=PROTOCOLS,
    ),
    Option(
        "max_rate",
        0.0,
        f"Images processed a second and camera at most, {_LEAST_RATE} or more; 0: as many as possible.",
        (0.0, 1000.0),
        fault=_rate_fault,
    ),
    Option(
        "held_images",
        8,
        "Images of a camera kept, so that a mask or click stamped with one of them applies to it.",
        (1, 120),
        when="configure",
    ),
    Option(
        "max_pixels",
        MAX_PIXELS,
        "Pixels of an image, mask or depth image at most; one that states more is refused undecoded.",
        (1, 2_000_000_000),
    ),
    Option(
        "known_objects",
        "",
        "Folder of the objects that were taught and can be called by name; empty: uniref_ros/known_objects "
        "in the user's data folder.",
        when="configure",
    ),
    Option("max_views", DEFAULT_VIEWS, "Views kept of a known object.", (1, MAX_VIEWS), when="configure"),
    Option(
        "learn_views",
        "remark",
        "When a known object is seen from a side that none of its views shows: remark says so in the log, "
        "auto keeps the view while there are fewer than max_views, off does nothing.",
        choices=("remark", "auto", "off"),
    ),
    Option(
        "remember",
        False,
        "Keep ids, prompts, labels, anchors and pause of what is followed on disk, beside the known objects "
        "under the node's name, and go on with them after a restart, also one by kill -9.",
        when="configure",
    ),
    Option("use_depth", True, "Subscribe to depth and camera_info.", when="configure"),
    Option(
        "depth_transport",
        "raw",
        "Subscribe to depth (raw) or to depth/compressedDepth (PNG of 16UC1 or 32FC1).",
        choices=("raw", "compressedDepth"),
        when="configure",
    ),
    Option(
        "depth_tolerance",
        0.05,
        "Seconds by which a depth image's stamp may differ from the image's; the nearest is taken.",
        (0.0, 10.0),
    ),
    Option(
        "image_rectified",
        "auto",
        "Whether the image is rectified, so that camera_info's P holds for it; else its K and its distortion "
        "do. auto: yes when the last part of the image topic's name, after remapping, has rect in it.",
        choices=("auto", "yes", "no"),
    ),
    Option("points_stride", 1, "Of the depth image, points takes every so many-th row and column.", (1, 64)),
    Option(
        "points_organised",
        False,
        "Lay points out in the depth image's rows and columns, NaN where no object is; else a list.",
    ),
    Option("marker_lifetime", 1.0, "Seconds that a marker stands when no newer one comes.", (0.05, 3600.0)),
    Option(
        "publish_tf",
        False,
        "Publish a frame object_<id> at each object's centroid on /tf, the id percent-encoded as in a URL; "
        "needs the package tf2_msgs.",
        when="configure",
    ),
    Option(
        "tf_prefix",
        "",
        "Put before these frames' names, such as robot1/: two trackers on one /tf would both have object_1.",
        when="configure",
        fault=_prefix_fault,
    ),
    Option(
        "overlay_rate",
        0.0,
        f"Overlays a second and camera at most, {_LEAST_RATE} or more; 0: one of every processed image.",
        (0.0, 1000.0),
        fault=_rate_fault,
    ),
    Option("overlay_quality", 80, "JPEG quality of overlay/compressed.", (1, 100)),
    Option("diagnostics_period", 1.0, "Seconds between diagnostics.", (0.1, 60.0)),
    Option(
        "stale_after",
        2.0,
        "Seconds without an image until diagnostics warn; and, while images come, without a result until "
        "they say ERROR.",
        (0.1, 3600.0),
    ),
    Option(
        "on_hang",
        "report",
        "When the network, or anything else, hangs: report says so, with the step, in diagnostics and in "
        "the log; exit also ends the process, with status 75, after five times stale_after, so that a "
        "respawning launch brings it back.",
        choices=("report", "exit"),
    ),
    Option(
        "max_delay",
        5.0,
        "Seconds from an image's stamp to its result until diagnostics warn; 0: never.",
        (0.0, 3600.0),
    ),
)

_BY_NAME = {option.name: option for option in OPTIONS}
_TRACKER_OPTIONS = tuple(name for name in TrackerConfig.__dataclass_fields__ if name in _BY_NAME)


def differing(before: Mapping[str, Any], after: Mapping[str, Any], when: str) -> list[str]:
    """Names of the options of this kind (`Option.when`) whose values differ."""
    return [o.name for o in OPTIONS if o.when == when and before[o.name] != after[o.name]]


def refusal(changes: Iterable[Parameter], *, configured: bool) -> str:
    """Why these changes cannot be made, or "".

    configured: the node is, so what is read on configuring cannot change.
    """
    for parameter in changes:
        option = _BY_NAME.get(parameter.name)
        if option is None:
            continue  # use_sim_time and quality-of-service overrides
        if reason := fault_of(option, parameter.value):
            return reason
        if option.when == "configure" and configured:
            return (
                f"{option.name} is read when the node is configured: deactivate, clean up, set it, configure"
            )
    return ""


def result(reason: str) -> SetParametersResult:
    """The answer to a request to set parameters; an empty reason means success."""
    return SetParametersResult(successful=not reason, reason=reason)


def tracker_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of TrackerConfig among these parameters, as `Tracker.configure` takes them."""
    return {
        name: None if name.endswith("_threshold") and value < 0 else value
        for name, value in settings.items()
        if name in _TRACKER_OPTIONS
    }
