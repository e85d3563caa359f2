"""Known objects over DDS: shown once, called by name, after a restart and in another picture."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from fake_runtime import rectangle, scene

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import Point  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from ros_help import NodeProcess, Peer  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from uniref_model.runtime.files import WEIGHTS  # noqa: E402
from uniref_model.video import open_source  # noqa: E402
from uniref_ros.conversion import fill_image  # noqa: E402
from uniref_ros.msg import KnownObjectArray, TrackCommand, TrackedObject  # noqa: E402
from uniref_ros.srv import AddObject, ForgetKnown, TeachObject  # noqa: E402

HERE, THERE = (32, 32, 40, 32), (152, 72, 40, 32)
RED, BLUE = scene(("red", HERE)), scene(("blue", THERE))


@pytest.fixture
def start(tmp_path):
    """Starts a node on the double with its known objects in a folder of this test."""

    def node(*parameters: str, name: str = "node") -> NodeProcess:
        folder = f"known_objects:={tmp_path / 'known'}"
        return NodeProcess(tmp_path / f"{name}.log", "diagnostics_period:=0.2", folder, *parameters)

    return node


class Known:
    """What the node says it knows."""

    def __init__(self, peer: Peer) -> None:
        self.messages: list[KnownObjectArray] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        peer.create_subscription(KnownObjectArray, "tracker/known_objects", self.messages.append, latched)
        self._peer = peer

    def until(self, names: list[str]) -> KnownObjectArray:
        self._peer.until(lambda: self.messages and self.names == names, f"known objects {names}")
        return self.messages[-1]

    @property
    def names(self) -> list[str]:
        return [item.name for item in self.messages[-1].objects]


def teach(peer: Peer, name: str, **what) -> TeachObject.Response:
    return peer.call(TeachObject, "tracker/teach", TeachObject.Request(name=name, **what))


def test_taught_by_a_click_and_called_by_name_after_a_restart(peer, start):
    known = Known(peer)
    with start(name="first"):
        peer.meet()
        peer.show(RED)
        answer = teach(peer, "my gripper", points=[Point(x=50.0, y=45.0)])
        assert answer.success and answer.views == 1, answer.message
        message = known.until(["my gripper"])
        assert list(message.objects[0].views) == [1]
        picture = cv2.imdecode(np.frombuffer(message.objects[0].picture.data, np.uint8), cv2.IMREAD_COLOR)
        assert max(picture.shape) <= 160 and picture[..., 2].max() > 150, "a small picture of a red thing"
    peer.results.clear()
    known.messages.clear()
    with start(name="second"):
        peer.meet()
        known.until(["my gripper"])
        peer.prompts.publish(String(data="follow my gripper"))
        (item,) = peer.tracked(scene(("red", THERE), ("blue", HERE)))
        assert (item.prompt, item.known) == ("my gripper", "my gripper")
        assert item.found_by in ("view", "words_and_view") and item.found_view == 1
        assert abs(item.box.x_offset - THERE[0]) < 4
        status = peer.status("tracker")
        assert (status["known objects"], status["known objects: views"]) == ("1", "1")
        image = peer.status("image")
        assert image[f"found by {item.found_by}"] == "1"
        assert f"found by {item.found_by} 1" in image["object 1"]


def test_spoken_this_is_and_forget_what_it_looks_like(peer, start):
    known = Known(peer)
    with start():
        peer.meet()
        for colour in ("red", "blue"):
            peer.prompts.publish(String(data=f"the {colour} thing"))
        peer.tracked(scene(("red", HERE), ("blue", THERE)), 2)
        peer.prompts.publish(String(data="This is my mug."))
        known.until(["my mug"])
        result = peer.show(scene(("red", HERE), ("blue", THERE)))
        labels = {item.prompt: item.label for item in result.objects}
        assert labels == {"the red thing": "the red thing", "the blue thing": "my mug"}, "the last added"
        peer.prompts.publish(String(data="forget my mug"))
        peer.tracked(RED)
        peer.prompts.publish(String(data="call this the blue tray"))
        known.until(["the blue tray", "my mug"])
        peer.prompts.publish(String(data="forget what my mug looks like"))
        known.until(["the blue tray"])
        (item,) = peer.show(RED).objects
        assert item.label == "the blue tray", "what is followed is followed on"


def test_the_command_teaches_an_object_and_forgets_and_adds_by_name(peer, start):
    known = Known(peer)
    with start():
        peer.meet()
        peer.prompts.publish(String(data="red"))
        (item,) = peer.tracked(RED)
        peer.commands.publish(TrackCommand(action=TrackCommand.TEACH, text="Part A7", object_id=item.id))
        known.until(["Part A7"])
        peer.commands.publish(TrackCommand(action=TrackCommand.ADD, text="part a7", object_id="again"))
        result = peer.show_until(
            RED, lambda r: [o.known for o in r.objects] == ["Part A7"] * 2, "the part by its name"
        )
        assert {o.id for o in result.objects} == {item.id, "again"}
        peer.commands.publish(TrackCommand(action=TrackCommand.FORGET_KNOWN, text="the part A7"))
        known.until([])


def mask_message(peer: Peer, mask: np.ndarray, stamp=None) -> Image:
    header = Header() if stamp is None else Header(stamp=stamp)
    return fill_image(Image(), mask.astype(np.uint8) * 255, "mono8", header)


def test_a_stamped_mask_means_the_image_of_its_stamp(peer, start):
    with start():
        peer.meet()
        message = peer.image(RED)
        peer.images.publish(message)
        peer.result_of(message)
        peer.show(BLUE)
        answer = teach(peer, "gripper", mask=mask_message(peer, rectangle(HERE), message.header.stamp))
        assert answer.success, answer.message
        peer.prompts.publish(String(data="gripper"))
        (item,) = peer.tracked(scene(("red", THERE), ("blue", HERE)))
        assert abs(item.box.x_offset - THERE[0]) < 4
        gone = message.header.stamp
        gone.sec -= 500
        answer = teach(peer, "gripper", mask=mask_message(peer, rectangle(HERE), gone))
        assert not answer.success and "is not held any more" in answer.message


def test_refusals_say_why_are_counted_and_disturb_nothing(peer, start):
    with start():
        peer.meet()
        peer.prompts.publish(String(data="red"))
        (item,) = peer.tracked(RED)
        refusals = {
            "no letter or digit": {"name": "…"},
            "is not seen now": {"name": "mug", "object_id": "nobody"},
            "shows everything": {"name": "mug", "mask": mask_message(peer, np.ones((128, 224), bool))},
            "two things": {
                "name": "mug",
                "mask": mask_message(peer, rectangle(HERE) | rectangle((152, 72, 60, 50))),
            },
            "outside the frame": {"name": "mug", "points": [Point(x=900.0, y=1.0)]},
            "expected one of these": {"name": "mug", "object_id": item.id, "points": [Point(x=9.0, y=9.0)]},
        }
        for reason, what in refusals.items():
            answer = teach(peer, **what)
            assert not answer.success and reason in answer.message, answer.message
        assert teach(peer, "mug", object_id=item.id).success
        answer = teach(peer, "mug", object_id=item.id)
        assert not answer.success and "says nothing new" in answer.message
        answer = peer.call(ForgetKnown, "tracker/forget_known", ForgetKnown.Request(name="spoon"))
        assert not answer.success and "no known object has the name 'spoon'; there are mug" in answer.message
        (still,) = peer.show(RED).objects
        assert still.state == TrackedObject.TRACKED
        assert peer.status("tracker")["errors: teach"] == str(len(refusals) + 1)


def test_what_is_damaged_is_said_and_left_out_and_another_programs_views_are_heard_of(peer, start, tmp_path):
    from uniref_model import KnownObjects

    store = KnownObjects(tmp_path / "known")
    store.teach("mug", RED, rectangle(HERE))
    store.teach("tray", RED, rectangle(HERE))
    (store.folder / "tray" / "object.yaml").write_text("name: [")
    known = Known(peer)
    with start() as process:
        peer.meet()
        message = known.until(["mug"])
        assert len(message.damaged) == 1 and message.damaged[0].startswith("tray: object.yaml")
        assert "tray in" in process.text()
        peer.call(AddObject, "tracker/add_object", AddObject.Request(text="spoon"))
        store.teach("spoon", BLUE, rectangle(THERE))
        known.until(["mug", "spoon"])
        (item,) = peer.tracked(scene(("blue", HERE)))
        assert item.known == "spoon", "views that came while it is followed are used"


def test_learn_views_auto_keeps_a_new_side_by_itself(peer, start, tmp_path):
    known = Known(peer)
    with start("learn_views:=auto", "recheck_every:=1") as process:
        peer.meet()
        peer.prompts.publish(String(data="the red thing"))
        peer.tracked(RED)
        peer.show(BLUE)
        answer = teach(peer, "red thing", points=[Point(x=170.0, y=85.0)])
        assert answer.success, answer.message
        peer.show_until(RED, lambda r: r.objects[0].looks_new, "the red side to be new")
        peer.until(lambda: [list(o.views) for o in known.messages[-1].objects] == [[1, 2]], "a second view")
        assert "kept a new side of 'red thing', now 2 views" in process.text()


def test_a_killed_node_goes_on_with_what_it_followed_under_the_same_ids(peer, start):
    both = scene(("red", HERE), ("blue", THERE))
    with start("remember:=true", "prompts:=['green']", name="first") as process:
        peer.meet()
        peer.call(AddObject, "tracker/add_object", AddObject.Request(text="the red box", object_id="box"))
        message = peer.image(both)
        peer.images.publish(message)
        peer.result_of(message)
        answer = peer.call(
            AddObject,
            "tracker/add_object",
            AddObject.Request(label="clicked", header=message.header, points=[Point(x=170.0, y=85.0)]),
        )
        assert (answer.success, answer.object_id) == (True, "2"), answer.message
        peer.call(SetBool, "tracker/set_enabled", SetBool.Request(data=False))
        process.child.kill()
    with start("remember:=true", "prompts:=['green']", name="second") as process:
        assert peer.status("tracker")["enabled"] == "False", "it was paused, and still is"
        peer.call(SetBool, "tracker/set_enabled", SetBool.Request(data=True))
        peer.meet()
        result = peer.show_until(
            both, lambda r: [o.state for o in r.objects].count(TrackedObject.TRACKED) == 2, "both again"
        )
        assert [(o.id, o.label, o.prompt) for o in result.objects] == [
            ("1", "green", "green"), ("box", "the red box", "the red box"), ("2", "clicked", ""),
        ]  # fmt: skip
        answer = peer.call(AddObject, "tracker/add_object", AddObject.Request(text="x", object_id="box"))
        assert not answer.success and "used before" in answer.message
        answer = peer.call(AddObject, "tracker/add_object", AddObject.Request(text="orange"))
        assert answer.object_id == "3"
        with start("remember:=true", name="third") as other:
            peer.until(lambda: "nothing is remembered" in other.text(), "a second node of this name")
            assert "in use by another process" in other.text()


MEDIA = Path(__file__).resolve().parents[2] / "media"


@pytest.mark.skipif(
    not (WEIGHTS / "uniref_nano" / "model.json").is_file() or not (MEDIA / "box.mp4").is_file(),
    reason="the shipped weights or the demo videos are not here",
)
def test_with_the_real_network_taught_by_a_click_killed_and_called_in_another_video(peer, tmp_path):
    program = [str(MEDIA.parent / "scripts" / "tracker_node")]
    options = (f"known_objects:={tmp_path / 'known'}", "size:=192x320", "runtime:=onnxruntime", "device:=cpu")
    video = open_source(str(MEDIA / "box.mp4"))
    pictures = [frame.image for frame in itertools.islice(video, 235)]
    with NodeProcess(tmp_path / "first.log", *options, program=program) as process:
        peer.meet()
        message = peer.image(pictures[5])
        peer.images.publish(message)
        peer.result_of(message)
        answer = teach(peer, "my gizmo", header=message.header, points=[Point(x=450.0, y=130.0)])
        assert answer.success and answer.views == 1, answer.message
        assert peer.call(Trigger, "tracker/clear", Trigger.Request()).success
        process.child.kill()
    peer.results.clear()
    with NodeProcess(tmp_path / "second.log", *options, program=program):
        peer.meet()
        peer.call(AddObject, "tracker/add_object", AddObject.Request(text="my gizmo"))
        for _, image in zip(range(30), itertools.cycle(pictures[228:]), strict=False):
            elsewhere = (image[40:-40, 50:-50][:, ::-1] * 0.7).astype(np.uint8)
            (item,) = peer.show(np.ascontiguousarray(elsewhere)).objects
            if item.state == TrackedObject.TRACKED:
                break
        assert item.state == TrackedObject.TRACKED and item.found_view == 1
        assert item.known == "my gizmo" and item.area > 5000
