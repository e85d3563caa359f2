"""The launch files under the real launch and launch_ros, with real processes. Skipped where they are not
installed (PyPI has no wheels of them; a robot has both)."""

from __future__ import annotations

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
from launch_ros.actions import SetParameter

path, *given = sys.argv[1:]
source = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(path), launch_arguments=dict(item.split(":=", 1) for item in given).items()
)
group = GroupAction([SetParameter("max_rate", 7.5), source])
service = LaunchService()
service.include_launch_description(LaunchDescription([group, TimerAction(period=12.0, actions=[Shutdown()])]))
sys.exit(service.run())
"""


def launched(name: str, *given: str) -> tuple[int, str]:
    """Exit status and output of a launch file that runs for a while."""
    command = [sys.executable, "-c", RUN, str(ROOT / "launch" / f"{name}.launch.py"), *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def left_behind() -> list[str]:
    found = subprocess.run(
        ["pgrep", "-af", "uniref_ros/tracker_node"], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()


def test_the_tracker_starts_and_a_groups_parameter_reaches_it():
    status, text = launched("tracker", "use_sim_time:=False", "log_level:=debug", "prompts:=the yellow box")
    assert status == 0 and "active, listening to /image" in text, text[-3000:]
    assert not left_behind()


def test_nothing_is_started_where_rviz_is_missing():
    status, text = launched("tracker", "rviz:=true")
    assert status == 1 and "package rviz2 is not installed" in text
    assert "process started" not in text and not left_behind()


def test_the_demo_plays_and_tracks():
    status, text = launched("demo", "loop:=false", "rate:=100.0")
    assert status == 0 and "active, listening to /image" in text and "played" in text, text[-3000:]
