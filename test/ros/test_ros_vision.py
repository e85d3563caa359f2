"""`~/detections`, `~/label_info` and /tf over real topics: vision_msgs and tf2_msgs, or their stand-ins."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import standin_build

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from depth_rig import EMPTY, Rig, depth_image, info
from ros_help import NodeProcess

HERE = Path(__file__).parent
TOPICS = (
    ("vision_msgs/Detection2DArray", "tracker/detections"),
    ("vision_msgs/LabelInfo*", "tracker/label_info"),
    ("tf2_msgs/TFMessage", "/tf"),
)


@pytest.fixture(scope="module")
def installed() -> dict[str, str]:
    """Variables for a process that finds vision_msgs and tf2_msgs."""
    variables = standin_build.environment()
    if isinstance(variables, str):
        pytest.skip(variables)
    return variables


@pytest.fixture
def rig(ros) -> Iterator[Rig]:
    peer = Rig()
    yield peer
    peer.destroy_node()


def recorded(process: NodeProcess, topic: str) -> list[dict]:
    lines = [line for line in process.text().splitlines() if line.startswith("[") and line.endswith("]")]
    return [message for name, message in map(json.loads, lines) if name == topic]


def same_place(one: dict, other) -> bool:
    return all(abs(one[axis] - getattr(other, axis)) < 1e-6 for axis in "xyz")


def test_detections_labels_and_transforms_of_the_tracked_object(tmp_path, rig, installed):
    recorder = [str(HERE / "record.py"), *(part for pair in TOPICS for part in pair)]
    with NodeProcess(tmp_path / "node.log", "publish_tf:=true", "tf_prefix:=arm/", env=installed) as node:
        rig.meet_rig()
        rig.placed(depth_image("16UC1"), info())  # before anyone listens: the label info is latched
        with NodeProcess(tmp_path / "heard.log", program=recorder, env=installed) as heard:
            rig.until(lambda: recorded(heard, "tracker/label_info"), "the latched label info")
            rig.until(
                lambda: (
                    rig.see(depth_image("16UC1"), info())
                    and recorded(heard, "tracker/detections")
                    and recorded(heard, "/tf")
                ),
                "detections and a transform",
            )
            rig.spin(0.5)
            told = recorded(heard, "tracker/label_info")[-1]
            labels, threshold = told["class_map"], told["threshold"]
            assert threshold == pytest.approx(0.3) and told["header"]["frame_id"] == "camera_optical"
            array, (frame,) = (
                recorded(heard, "tracker/detections")[-1],
                recorded(heard, "/tf")[-1]["transforms"],
            )
            stamp = array["header"]["stamp"]
            result = next(
                r
                for r in rig.results
                if [r.header.stamp.sec, r.header.stamp.nanosec] == [stamp["sec"], stamp["nanosec"]]
            )
            (item,), (detection,) = result.objects, array["detections"]
            assert labels == [{"class_id": item.slot, "class_name": "red"}]
            assert array["header"]["frame_id"] == "camera_optical" == frame["header"]["frame_id"]
            assert detection["id"] == item.id and detection["header"] == array["header"]
            box = detection["bbox"]
            assert (box["size_x"], box["size_y"]) == (item.box.width, item.box.height)
            assert box["center"]["position"]["x"] == item.box.x_offset + item.box.width / 2
            (best,) = detection["results"]
            assert best["hypothesis"]["class_id"] == "red"
            assert best["hypothesis"]["score"] == pytest.approx(item.score)
            assert item.has_position and same_place(best["pose"]["pose"]["position"], item.centroid)
            assert frame["child_frame_id"] == "arm/object_1" and frame["transform"]["rotation"]["w"] == 1.0
            if frame["header"] == array["header"]:
                assert same_place(frame["transform"]["translation"], item.centroid)
            before = len(recorded(heard, "/tf"))
            rig.see(depth_image("16UC1"), info(), picture=EMPTY)
            rig.until(
                lambda: recorded(heard, "tracker/detections")[-1]["detections"] == [],
                "an array without detections",
            )
            rig.spin(0.3)
            assert len(recorded(heard, "/tf")) == before, "what is not seen has no transform"
            rig.frame_id = ""
            assert rig.placed(depth_image("16UC1"), info()).has_position
            rig.until(lambda: "the images have no frame_id" in node.text(), "the warning")
            rig.spin(0.3)
            assert len(recorded(heard, "/tf")) == before, "tf2 refuses what is in no frame"
        assert node.running


@pytest.mark.skipif(importlib.util.find_spec("tf2_msgs") is not None, reason="tf2_msgs is installed")
def test_publish_tf_without_tf2_msgs_is_refused_with_the_reason(tmp_path, ros):
    with NodeProcess(tmp_path / "node.log", "publish_tf:=true") as process:
        assert process.child.wait(60) == 1
        assert "tf2_msgs is not installed" in process.text() and "Traceback" not in process.text()
