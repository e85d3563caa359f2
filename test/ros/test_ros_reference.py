"""The documentation names what there is: parameters, launch arguments, topics, services, views; and the
example of docs/grasping.md runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")

from geometry_msgs.msg import Point, PointStamped
from ros_help import NodeProcess, Peer
from std_msgs.msg import Header

from uniref_ros import reference
from uniref_ros.msg import TrackedObject, TrackedObjectArray

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_page_is_what_the_code_says():
    page = reference.PAGE.read_text(encoding="utf-8")
    assert reference.filled(page) == page, "run python -m uniref_ros.reference"
    assert set(re.findall(r"<!-- table: (\S+) -->", page)) == set(reference.tables())
    assert "docs/reference.md" in README and "docs/grasping.md" in README


def named(section: str) -> set[str]:
    """The topics or services in the first columns of the tables under a heading of the README."""
    return in_tables(README.split(f"## {section}")[1].split("\n## ")[0])


def in_tables(text: str) -> set[str]:
    """What stands as code in the first columns of a text's tables."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def names_of_the_tracker(peer: Peer) -> set[str]:
    """The node's topics and services as the ROS graph knows them, written as the README writes them.

    By topic, not by node: asked for a node, the graph answers for the first of that name, which may be one
    that another test has ended.
    """
    found = {name for name, _ in peer.get_service_names_and_types() if name.startswith("/tracker/")}
    for name, _ in peer.get_topic_names_and_types():
        ends = [*peer.get_publishers_info_by_topic(name), *peer.get_subscriptions_info_by_topic(name)]
        found |= {name} if any(end.node_name == "tracker" for end in ends) else set()
    ours = {re.sub("^/tracker/", "~/", name) for name in found}
    return {name.removeprefix("/") for name in ours}


def test_the_readme_names_every_topic_and_service_of_the_node(node, peer: Peer):
    peer.meet()
    # Which node a topic belongs to is announced apart from the topic, so it may come after the first result.
    some = {"image", "~/objects", "~/prompt", "~/add_object"}
    peer.until(lambda: some <= names_of_the_tracker(peer), "the graph's list of the tracker's names")
    known = named("Topics, services")
    standard = re.compile(r"parameter|rosout|clock|transition|state|type_description|logger_levels")
    ours = {name for name in names_of_the_tracker(peer) if not standard.search(name)}
    assert not {name for name in ours if name not in known and f"/{name}" not in known}


def view_topics() -> set[str]:
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text(encoding="utf-8"))
    rviz = (ROOT / "config" / "tracker.rviz").read_text(encoding="utf-8")
    yaml.safe_load(rviz)
    text = json.dumps(layout["configById"]) + rviz
    return set(re.findall(r"(/(?:tracker|voice_command)/[a-z_/]*[a-z])", text))


def test_the_views_show_topics_that_there_are():
    topics = view_topics()
    assert len(topics) > 6
    known = named("Topics, services")
    known |= in_tables((ROOT / "docs" / "voice.md").read_text(encoding="utf-8"))
    for topic in topics:
        assert "~/" + topic.split("/", 2)[2] in known, topic


def test_every_panel_of_the_layout_has_its_place():
    layout = json.loads((ROOT / "config" / "foxglove_layout.json").read_text(encoding="utf-8"))

    def panels(tree) -> list[str]:
        return [tree] if isinstance(tree, str) else [*panels(tree["first"]), *panels(tree["second"])]

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])


def objects(x: float, *, seen: int = 0, has_position: bool = True) -> TrackedObjectArray:
    item = TrackedObject(
        state=TrackedObject.TRACKED,
        prompt="the yellow box",
        score=0.9,
        frames_since_seen=seen,
        has_position=has_position,
        centroid=Point(x=x, y=0.1, z=1.0),
        depth_points=500,
    )
    return TrackedObjectArray(header=Header(frame_id="camera_optical"), objects=[item])


def test_the_grasping_example_gives_a_steady_point_of_what_is_seen_now(tmp_path, peer: Peer):
    points: list[PointStamped] = []
    peer.create_subscription(PointStamped, "grasp_point", points.append, 10)
    sender = peer.create_publisher(TrackedObjectArray, "tracker/objects", 10)
    example = [str(ROOT / "examples" / "pick_centroid.py")]
    with NodeProcess(tmp_path / "pick.log", "max_age:=0.0", "agree:=3", program=example) as process:
        peer.until(
            lambda: sender.get_subscription_count() > 1 and peer.count_publishers("grasp_point"),
            "the example",
        )
        peer.spin(0.5)

        def send(*messages: TrackedObjectArray) -> None:
            for message in messages:
                sender.publish(message)
                peer.spin(0.1)

        send(*(objects(0.2 * n) for n in range(5)))  # it moves
        send(*(objects(0.3, seen=2) for _ in range(5)))  # it is only remembered
        send(*(objects(0.3, has_position=False) for _ in range(5)))
        peer.spin(0.5)
        assert points == []
        send(objects(0.300), objects(0.305), objects(0.301))
        peer.until(lambda: points, "the grasp point")
        point = points[0]
        assert point.header.frame_id == "camera_optical" and point.point.x == pytest.approx(0.301)
        assert process.stop() == 0
