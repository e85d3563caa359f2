"""The node `voice_command`: speech in, prompts for the tracker out."""

from __future__ import annotations

import contextlib
import queue
import threading
import traceback
from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Bool, String

from uniref_model.errors import AudioError, KnownObjectError, UniRefError
from uniref_model.known_objects import check_known_name
from uniref_model.limits import MAX_KNOWN_OBJECTS, MAX_THREADS
from uniref_model.voice import Listener, Remark, Resampler, Vocabulary, load_recogniser
from uniref_model.voice.audio import HIGHEST_RATE, LOWEST_RATE
from uniref_model.voice.listening import TRIGGERS
from uniref_ros.audio_sources import MESSAGE_TYPES, AudioFile, AudioTopic, Chunks, Microphone
from uniref_ros.executor import make_node, prepare_signals, spin, start_ros, steady_timer
from uniref_ros.msg import Heard, KnownObjectArray
from uniref_ros.parameter_rules import Option, declare, unknown
from uniref_ros.qos import latched
from uniref_ros.status import make_status, plain

_POLL = 0.2  # s between looks for the end
_DELIVERY = Duration(seconds=2)  # for what was said last to arrive before the node ends
_REPEATED = 100  # of bad messages, the first is logged and then every so many-th


_option = partial(Option, when="start")

OPTIONS = (
    _option("source", "microphone", "Where the sound comes from: microphone, topic, or a WAV file."),
    _option("device", "", "ALSA device of the microphone, as `arecord -L` lists them; empty: the default."),
    _option(
        "audio_type", "Int16MultiArray", "Message type of the topic audio: 16-bit PCM.", choices=MESSAGE_TYPES
    ),
    _option("rate", 16000, "Samples a second of the topic audio.", (LOWEST_RATE, HIGHEST_RATE)),
    _option("channels", 1, "Interleaved channels of the topic audio; they are averaged.", (1, 32)),
    _option(
        "trigger",
        "wake_word",
        "What is meant for the robot: what follows the wake word, what is said while ~/talk is true, or "
        "everything.",
        choices=TRIGGERS,
    ),
    _option("wake_word", "hey robot", "The words that call the robot, when trigger is wake_word."),
    _option("engine", "pocketsphinx", "pocketsphinx, vosk, whisper, or module:factory of a recogniser."),
    _option(
        "engine_model",
        "",
        "Handed to the engine: a model's folder or name (whisper downloads a name); empty: the engine's own.",
    ),
    _option(
        "engine_threads",
        1,
        "CPU threads of the engine whisper, which computes after each utterance; with more it answers sooner "
        "and leaves the tracker less.",
        (1, MAX_THREADS),
    ),
    _option("min_confidence", 0.9, "What is heard with less is reported as not understood.", (0.0, 1.0)),
    _option(
        "nouns",
        [""],
        "Names of things to listen for, for engines with a grammar; the fewer, the better they are told "
        "apart. Empty: a hundred everyday things.",
    ),
    _option("adjectives", [""], "Words that may stand before them; empty: colours, sizes, materials."),
    _option("names", [""], "Names of known objects to listen for besides, whatever the engine."),
    _option("max_seconds", 10.0, "Speech that goes on for longer is no instruction.", (1.0, 60.0)),
    _option("wait_for_subscribers", 1, "A WAV file begins when so many listen to the prompts.", (0, 100)),
)


class VoiceCommand(Node):
    """See the README for its topics and parameters. One thread receives audio, this class's thread listens to
    it, and the executor's serves topics."""

    def __init__(self) -> None:
        super().__init__("voice_command")
        declare(self, OPTIONS)
        for line in unknown(self, OPTIONS):
            self.get_logger().warning(line)
        self.failed = False
        """Set when the source failed."""
        self.done = threading.Event()
        """Set when there is nothing more to hear."""
        self._counts = {"understood": 0, "not understood": 0, "bad audio messages": 0}
        self._last = self._last_error = ""
        self._chunks = Chunks()
        self._names = self._learnt = (*self._value("names"),)
        self._listener = self._make_listener()
        self._prompts = self.create_publisher(String, "tracker/prompt", QoSProfile(depth=20))
        self._heard = self.create_publisher(Heard, "~/heard", QoSProfile(depth=20))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_subscription(Bool, "~/talk", lambda m: self._chunks.put(m.data), QoSProfile(depth=20))
        self.create_subscription(
            KnownObjectArray,
            "tracker/known_objects",
            lambda m: self._listen_for(known.name for known in m.objects),
            latched(),
        )
        steady_timer(self, 1.0, self._diagnose)
        self._source = self._open_source()
        self._resampler = Resampler(self._source.rate)
        self._thread = threading.Thread(target=self._listen, name="voice")
        self._thread.start()

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _make_listener(self) -> Listener:
        wake = self._value("wake_word") if self._value("trigger") == "wake_word" else ""
        vocabulary = Vocabulary.of(
            nouns=self._value("nouns"),
            adjectives=self._value("adjectives"),
            names=self._value("names"),
            wake=wake,
        )
        recogniser = load_recogniser(
            self._value("engine"), self._value("engine_model"), threads=self._value("engine_threads")
        )
        recogniser.teach(vocabulary)
        return Listener(
            recogniser,
            trigger=self._value("trigger"),
            wake=vocabulary.wake,
            vocabulary=vocabulary,
            least_confidence=self._value("min_confidence"),
            longest=self._value("max_seconds"),
        )

    def _open_source(self) -> Microphone | AudioFile | AudioTopic:
        source = self._value("source")
        if source == "microphone":
            return Microphone(self._value("device"), self._chunks, self._report)
        if source == "topic":
            kind, rate, channels = (self._value(name) for name in ("audio_type", "rate", "channels"))
            return AudioTopic(self, kind, rate, channels, self._chunks, self._report_error)
        wanted = self._value("wait_for_subscribers")
        return AudioFile(source, self._chunks, lambda: self._prompts.get_subscription_count() >= wanted)

    def _listen_for(self, names: Iterable[str]) -> None:
        """From now on these are the known objects' names, beside those of the parameter."""
        known, refusals = [], []
        for name in islice(names, MAX_KNOWN_OBJECTS):
            try:
                known.append(check_known_name(name))
            except KnownObjectError as error:
                refusals.append(error)
        if refusals:
            self._report(f"{len(refusals)} names of known objects are not listened for: {refusals[0]}")
        self._names = (*self._value("names"), *known)  # taken up between two chunks

    # ---- listening

    def _listen(self) -> None:
        try:
            while not self.done.is_set():
                if self._names != self._learnt:
                    names = self._names
                    self._listener.learn(names)
                    self._learnt = names
                with contextlib.suppress(queue.Empty):
                    item = self._chunks.get(_POLL)
                    if isinstance(item, bool):
                        self._tell(self._listener.press(item))
                    else:
                        self._tell(self._listener.hear(self._resampler.process(item)))
        except EOFError:
            self._tell(self._listener.finish())
            self.get_logger().info("the audio file is over")
            for publisher in (self._prompts, self._heard):
                publisher.wait_for_all_acked(_DELIVERY)
        except AudioError as error:
            self._fail(str(error))
        except Exception:  # an engine of the user's own may raise anything: say it, and end
            self._fail(traceback.format_exc())
        finally:
            self.done.set()
            if self.executor is not None:
                self.executor.wake()

    def _fail(self, text: str) -> None:
        if self.context.ok():
            self.failed = True
            self._last_error = text
            self.get_logger().error(text)

    def _tell(self, remarks: Any) -> None:
        for remark in remarks:
            if self.done.is_set() or not self.context.ok():
                return
            self._publish(remark)

    def _publish(self, remark: Remark) -> None:
        understood = bool(remark.prompt)
        self._counts["understood" if understood else "not understood"] += 1
        heard = Heard(
            words=remark.words,
            confidence=remark.confidence,
            understood=understood,
            prompt=remark.prompt,
            reason=remark.reason,
        )
        heard.header.stamp = self.get_clock().now().to_msg()
        self._last = (
            f"{remark.words!r} -> {remark.prompt!r}" if understood else f"{remark.words!r}: {remark.reason}"
        )
        if understood:
            self._prompts.publish(String(data=remark.prompt))
        self._heard.publish(heard)
        self.get_logger().info(f"heard {plain(self._last)} (confidence {remark.confidence:.2f})")

    # ---- reports

    def _report_error(self, text: str) -> None:
        self._counts["bad audio messages"] += 1
        self._last_error = text
        if self._counts["bad audio messages"] % _REPEATED == 1:
            self.get_logger().error(text)

    def _report(self, text: str) -> None:
        self._last_error = text
        self.get_logger().error(plain(text))

    def _diagnose(self) -> None:
        listeners = self._prompts.get_subscription_count()
        level, message = DiagnosticStatus.OK, "listening"
        if self.failed:
            level, message = DiagnosticStatus.ERROR, self._last_error
        elif not listeners:
            topic = self._prompts.topic_name
            level, message = DiagnosticStatus.WARN, f"listening, but nobody takes the prompts on {topic}"
        values = {
            "source": self._value("source"),
            "engine": self._value("engine"),
            "listeners": listeners,
            "names listened for": sum(map(bool, self._learnt)),
            **self._counts,
            "dropped chunks": self._chunks.dropped,
            "last heard": self._last,
            "last error": self._last_error,
        }
        status = make_status(self.get_fully_qualified_name().lstrip("/"), level, message, values)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def close(self) -> None:
        """End the source and the thread."""
        self.done.set()
        self._source.close()
        self._thread.join(5.0)


def main(args: list[str] | None = None) -> int:
    """Listen until a signal or the end of the file; returns the exit status, 1 when there is nothing to hear,
    or nothing to hear it with."""
    prepare_signals()
    if not start_ros("voice_command", args):
        return 1
    node = make_node(VoiceCommand, "voice_command", UniRefError, ValueError)
    if node is None:
        status = int(rclpy.ok())
        rclpy.try_shutdown()
        return status
    spin(node, lambda error: node.get_logger().error(str(error)), until=node.done.is_set)
    node.close()
    rclpy.try_shutdown()
    return int(node.failed)


if __name__ == "__main__":
    raise SystemExit(main())
