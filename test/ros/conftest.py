"""ROS tests: real nodes over real DDS, on this machine only. Each module skips where ROS 2 is absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_help import NodeProcess, Peer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(40 + os.getpid() % 60))
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(ROOT / "ros_env" / "fastdds_shm.xml"))


def pytest_collection_modifyitems(items):
    """One more attempt for tests that wait for other processes over a network: a machine that stalls for
    longer than they wait is no fault of the node. The summary lists every test that needed it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    """rclpy for the whole session."""
    import rclpy

    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()


@pytest.fixture
def peer(ros) -> Iterator[Peer]:
    """A fresh peer."""
    from ros_help import Peer

    node = Peer()
    yield node
    node.destroy_node()


@pytest.fixture
def node(tmp_path) -> Iterator[NodeProcess]:
    """A fresh tracker node on the colour double, activating itself."""
    from ros_help import NodeProcess

    with NodeProcess(tmp_path / "node.log", "diagnostics_period:=0.2") as process:
        yield process
