"""The voice node over real DDS: synthesised speech to a tracked object, and audio that is of no use."""

from __future__ import annotations

import array
import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here (make test installs it)")
pytest.importorskip("uniref_ros.msg", reason="the ROS package is not built here (make test builds it)")
pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")

from rcl_interfaces.srv import DescribeParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_help import NodeProcess, Peer
from speech import say, write_wav
from std_msgs.msg import Bool, Int16MultiArray, String

from uniref_model.errors import ModelFileError
from uniref_model.runtime import find_model
from uniref_ros.msg import Heard, KnownObject, KnownObjectArray, TrackedObject
from uniref_ros.voice_command import OPTIONS

VOICE = ["-m", "uniref_ros.voice_command"]
TRACKER = ["-m", "uniref_ros.tracker_node"]
PLAYER = ["-m", "uniref_ros.video_player"]
SPEAKER = "en-us+f2"


class Talker:
    """Speaks to the voice node over the topics `audio` and `~/talk`, and keeps what comes of it."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.heard: list[Heard] = []
        self.prompts: list[str] = []
        self._audio = peer.create_publisher(Int16MultiArray, "audio", QoSProfile(depth=50))
        self._button = peer.create_publisher(Bool, "voice_command/talk", 10)
        peer.create_subscription(Heard, "voice_command/heard", self.heard.append, 20)
        peer.create_subscription(String, "tracker/prompt", lambda m: self.prompts.append(m.data), 20)

    def meet(self) -> None:
        """Wait for the node, both ways."""
        self.peer.until(
            lambda: self._audio.get_subscription_count() and self._button.get_subscription_count(),
            "the voice node's ears",
        )
        self.be_heard()

    def be_heard(self) -> None:
        """Wait until the node knows our readers, of which the one of prompts was made last."""
        self.peer.until(
            lambda: self.peer.count_publishers("voice_command/heard") and self._listeners(), "the voice node"
        )

    def _listeners(self) -> int:
        self.peer.spin(0.1)
        return int(self.peer.status("voice_command")["listeners"])

    def play(self, samples: np.ndarray) -> None:
        """Publish a recording in chunks."""
        for chunk in np.array_split(samples, max(1, len(samples) // 2000)):
            self._audio.publish(Int16MultiArray(data=chunk.tolist()))
            self.peer.spin(0.005)

    def play_at_once(self, samples: np.ndarray) -> None:
        """Publish a recording as one message."""
        self._audio.publish(Int16MultiArray(data=array.array("h", samples.tobytes())))

    def press(self, down: bool) -> None:
        """The talk button."""
        self._button.publish(Bool(data=down))
        self.peer.spin(0.1)

    def next(self) -> Heard:
        """The next remark of the node."""
        count = len(self.heard)
        self.peer.until(lambda: len(self.heard) > count, "a remark of the voice node")
        return self.heard[-1]


@pytest.fixture
def talker(peer) -> Talker:
    return Talker(peer)


def test_a_spoken_sentence_makes_the_tracker_track(tmp_path, peer, request):
    """espeak-ng -> WAV file -> voice_command -> ~/prompt -> the real tracker on a real video."""
    try:
        find_model("uniref_nano")
    except ModelFileError as error:
        pytest.skip(f"no weights here: {error}")
    speech = write_wav(tmp_path / "speech.wav", *say("follow the yellow box", SPEAKER))
    video = request.config.rootpath / "media" / "box.mp4"
    tracker = NodeProcess(tmp_path / "tracker.log", "size:=192x320", program=TRACKER)
    player = NodeProcess(
        tmp_path / "player.log", f"source:={video}", "loop:=true", "wait_for_subscribers:=1", program=PLAYER
    )
    voice = NodeProcess(tmp_path / "voice.log", f"source:={speech}", "trigger:=always", program=VOICE)
    heard: list[Heard] = []
    peer.create_subscription(Heard, "voice_command/heard", heard.append, 20)
    with tracker, player, voice:

        def tracked() -> list[TrackedObject]:
            last = peer.results[-1].objects if peer.results else []
            return [item for item in last if item.state == TrackedObject.TRACKED]

        item = peer.until(tracked, "the yellow box to be tracked", timeout=90)[0]
        assert item.prompt == "the yellow box" and item.area > 500
        assert voice.child.wait(20) == 0, "the node ends with its file"
    assert [(h.words, h.understood, h.prompt) for h in heard] in (
        [],  # the remark may have come before this peer was found
        [("follow the yellow box", True, "the yellow box")],
    )


def test_the_talk_button_over_topics(tmp_path, talker):
    parameters = ("source:=topic", "trigger:=push_to_talk", "rate:=22050")
    with NodeProcess(tmp_path / "voice.log", *parameters, program=VOICE) as node:
        talker.meet()
        samples, rate = say("forget everything", SPEAKER)
        assert rate == 22050
        talker.play(samples)  # the button is up
        talker.press(True)
        talker.play(samples)
        talker.press(False)
        heard = talker.next()
        assert heard.understood and heard.prompt == "forget everything" and heard.confidence >= 0.9
        assert heard.header.stamp.sec > 0
        talker.peer.until(lambda: talker.prompts == ["forget everything"], "the prompt")
        assert node.stop() == 0 and "Traceback" not in node.text()


def test_a_known_object_is_called_by_the_name_that_the_tracker_tells(tmp_path, talker):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    known = talker.peer.create_publisher(KnownObjectArray, "tracker/known_objects", latched)
    parameters = ("source:=topic", "trigger:=push_to_talk", "rate:=22050", "min_confidence:=0.3")
    with NodeProcess(tmp_path / "voice.log", *parameters, program=VOICE):
        talker.meet()

        def say_it() -> Heard:
            talker.press(True)
            talker.play(say("follow the teapot", SPEAKER)[0])
            talker.press(False)
            return talker.next()

        assert "teapot" not in say_it().prompt.lower()
        known.publish(KnownObjectArray(objects=[KnownObject(name="Teapot")]))
        talker.peer.until(
            lambda: talker.peer.status("voice_command")["names listened for"] == "1", "the name to be learnt"
        )
        heard = say_it()
        assert (heard.words, heard.prompt) == ("follow the teapot", "the Teapot")


def test_audio_of_no_use_is_reported_and_never_becomes_a_prompt(tmp_path, talker):
    with NodeProcess(
        tmp_path / "voice.log", "source:=topic", "trigger:=always", "channels:=2", "rate:=8000", program=VOICE
    ) as node:
        talker.meet()
        for bad in ([], [1, 2, 3]):
            talker.play(np.array(bad, np.int16))
        talker.play_at_once(np.ones(2 * 8000 * 30 + 2, np.int16))
        rng = np.random.default_rng(0)
        both = lambda mono: np.repeat(mono, 2)  # noqa: E731
        talker.play(np.zeros(64000, np.int16))
        talker.play(both(rng.normal(0, 5000, 32000).clip(-32768, 32767).astype(np.int16)))
        talker.play(np.zeros(64000, np.int16))
        slow, _ = say("follow the yellow box", SPEAKER)  # at 22050 Hz, taken for 8000
        talker.play(both(slow))
        talker.play(np.zeros(64000, np.int16))
        talker.peer.until(
            lambda: "holds no samples" in node.text() or "3 samples" in node.text(), "the complaint"
        )
        status = talker.peer.status("voice_command")
        talker.peer.until(
            lambda: talker.peer.status("voice_command")["bad audio messages"] == "3", "the count"
        )
        assert status["source"] == "topic"
        last = talker.peer.status("voice_command")["last error"]
        assert "480002 samples in one message (30 s), more than the limit of 480000" in last
        talker.peer.spin(2.0)
        assert node.running and talker.prompts == []
        assert all(not heard.understood and heard.reason for heard in talker.heard)


def test_a_long_message_is_heard_whole_and_costs_no_more_than_short_ones(tmp_path, talker):
    parameters = "source:=topic", "trigger:=always", "rate:=48000"
    with NodeProcess(tmp_path / "voice.log", *parameters, program=VOICE) as node:
        talker.meet()
        speech, rate = say("follow the yellow box", SPEAKER)
        places = np.arange(0, len(speech) - 1, rate / 48000)
        spoken = np.interp(places, np.arange(len(speech)), speech).astype(np.int16)
        before = peak_mb(node)
        talker.play_at_once(np.concatenate([spoken, np.zeros(48000 * 30 - len(spoken), np.int16)]))
        assert talker.next().prompt == "the yellow box"
        assert peak_mb(node) - before < 60


def peak_mb(node: NodeProcess) -> float:
    """The most memory it ever had."""
    status = Path(f"/proc/{node.child.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def test_names_that_no_known_object_can_have_are_left_out_and_said(tmp_path, talker):
    """Its diagnostics come by the machine's clock, though nobody publishes the simulation's."""
    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    known = talker.peer.create_publisher(KnownObjectArray, "tracker/known_objects", kept)
    names = ["Teapot", "x" * 1_000_000, "a\nb", "?!", "Kettle"]
    parameters = "source:=topic", "trigger:=push_to_talk", "use_sim_time:=true"
    with NodeProcess(tmp_path / "voice.log", *parameters, program=VOICE) as node:
        talker.meet()
        known.publish(KnownObjectArray(objects=[KnownObject(name=name) for name in names]))
        talker.peer.until(
            lambda: talker.peer.status("voice_command")["names listened for"] == "2", "the names to be learnt"
        )
        assert "3 names of known objects are not listened for" in node.text() and len(node.text()) < 5000


def double(folder: Path, script: str) -> None:
    """An executable `arecord` in the folder."""
    program = folder / "arecord"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("source:=no/such.wav", "no audio file 'no/such.wav'"),
        ("source:=CUT", "promises"),
        ("source:=TEXT", "WAV"),
        ("source:=microphone", "no such device"),
        ("trigger:=shout", "'shout'"),
        ("engine:=whisper", "engine_model is ''"),
        ("nouns:=[zzyzxq]", "zzyzxq"),
        ("rate:=100", "rate"),
    ],
)
def test_a_node_that_cannot_hear_ends_with_the_reason(tmp_path, ros, parameter, reason, monkeypatch):
    double(tmp_path, 'echo "arecord: main:831: audio open error: no such device" >&2; exit 1')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    whole = write_wav(tmp_path / "whole.wav", *say("pause"))
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "text.wav").write_text("words, not sound")
    parameter = parameter.replace("CUT", str(tmp_path / "cut.wav")).replace(
        "TEXT", str(tmp_path / "text.wav")
    )
    with NodeProcess(tmp_path / "voice.log", parameter, program=VOICE) as process:
        assert process.child.wait(60) == 1
        assert reason in process.text() and "Traceback" not in process.text()


def test_without_arecord_the_cure_is_named(tmp_path, ros, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with NodeProcess(tmp_path / "voice.log", program=VOICE) as process:
        assert process.child.wait(60) == 1
        assert "alsa-utils" in process.text()


def test_every_parameter_is_described(tmp_path, talker):
    with NodeProcess(tmp_path / "voice.log", "source:=topic", program=VOICE):
        talker.meet()
        request = DescribeParameters.Request(names=[option.name for option in OPTIONS])
        answer = talker.peer.call(DescribeParameters, "voice_command/describe_parameters", request)
        assert len(answer.descriptors) == len(OPTIONS)
        for descriptor in answer.descriptors:
            assert len(descriptor.description) > 30 and descriptor.read_only, descriptor.name
