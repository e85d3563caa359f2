"""The launch files under the real launch and launch_ros, with real processes. Skipped where they are not
installed (PyPI has no wheels of them; a robot has both)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("launch_ros", reason="launch_ros is not installed here (a robot has it)")

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import GroupAction, IncludeLaunchDescription, RegisterEventHandler, TimerAction, Shutdown
from launch.event_handlers import OnProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace, SetParameter

path, *given = sys.argv[1:]
source = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path), launch_arguments=dict(item.split(":=", 1) for item in given).items()
)
group = GroupAction([SetParameter("max_rate", 7.5), PushRosNamespace("arm"), source])
service = LaunchService()
service.include_launch_description(LaunchDescription([group, TimerAction(period=15.0, actions=[Shutdown()])]))
sys.exit(service.run())
"""


ASK = """
import sys
import rclpy
from rcl_interfaces.srv import GetParameters

rclpy.init()
node = rclpy.create_node("asker")
client = node.create_client(GetParameters, sys.argv[1] + "/get_parameters")
assert client.wait_for_service(60.0)
future = client.call_async(GetParameters.Request(names=["max_rate", "use_sim_time"]))
rclpy.spin_until_future_complete(node, future, timeout_sec=20.0)
rate, sim_time = future.result().values
print(rate.double_value, sim_time.bool_value)
"""


def command(name: str, *given: str) -> list[str]:
    return [sys.executable, "-c", RUN, str(ROOT / "launch" / f"{name}.launch.py"), *given]


def launched(name: str, *given: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit status and output of a launch file that runs for a while."""
    done = subprocess.run(
        command(name, *given), capture_output=True, text=True, timeout=120, check=False, env=env
    )
    return done.returncode, done.stdout + done.stderr


def left_behind() -> list[str]:
    found = subprocess.run(
        ["pgrep", "-af", "uniref_ros/tracker_node"], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()


def test_the_tracker_starts_below_a_groups_namespace():
    status, text = launched("tracker", "namespace:=robot", "log_level:=debug", "prompts:=the yellow box")
    assert status == 0 and "active, listening to /arm/robot/image" in text, text[-3000:]
    assert not left_behind()


def test_a_groups_parameter_and_what_is_given_reach_the_node():
    with subprocess.Popen(command("tracker", "use_sim_time:=True"), stderr=subprocess.DEVNULL) as launch:
        asked = subprocess.run(
            [sys.executable, "-c", ASK, "/arm/tracker"],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert launch.wait(60) == 0
    assert asked.stdout.split() == ["7.5", "True"], asked.stderr


def test_nothing_is_started_where_rviz_is_missing():
    status, text = launched("tracker", "rviz:=true")
    assert status == 1 and "package rviz2 is not installed" in text
    assert "process started" not in text and not left_behind()


@pytest.mark.parametrize("name", ["tracker", "demo"])
def test_nothing_is_started_where_rviz_has_no_executable(name, tmp_path):
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rviz2").touch()
    prefixes = os.pathsep.join([str(tmp_path), os.environ["AMENT_PREFIX_PATH"]])
    status, text = launched(name, "rviz:=true", env=os.environ | {"AMENT_PREFIX_PATH": prefixes})
    assert status == 1 and "package rviz2 has no executable" in text
    assert "process started" not in text and not left_behind()


def test_the_demo_plays_and_tracks():
    status, text = launched("demo", "loop:=false", "rate:=100.0")
    assert status == 0 and "active, listening to /arm/image" in text and "played" in text, text[-3000:]
