"""What a bag written without ROS says of its messages is what ROS itself says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")
pytest.importorskip("rosbags", reason="rosbags is not installed here (pip install rosbags)")

from ament_index_python.packages import get_package_share_directory

from uniref_model.bags.library import OURS, types
from uniref_model.tracking import TrackState
from uniref_model.tracking.message_fields import STATES
from uniref_ros.msg import TrackedObject


@pytest.mark.parametrize("name", OURS)
def test_a_type_has_the_hash_that_ros_gives_it(name):
    file = Path(get_package_share_directory("uniref_ros")) / "msg" / f"{name}.json"
    if not file.is_file():
        pytest.skip("this ROS distribution writes no type hashes")
    hashes = {item["type_name"]: item["hash_string"] for item in json.loads(file.read_text())["type_hashes"]}
    assert types().hash_rihs01(f"uniref_ros/msg/{name}") == hashes[f"uniref_ros/msg/{name}"]


def test_states_are_the_messages_constants():
    assert {state: getattr(TrackedObject, state.name) for state in TrackState} == STATES
