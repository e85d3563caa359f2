"""What keeps images from arriving whole, or at all, and what to do about it; and quality of service."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble's name for it
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

CURE = (
    "with Fast DDS, images larger than its shared-memory segment are lost or cut: start the publisher with "
    "FASTDDS_DEFAULT_PROFILES_FILE (before Kilted: FASTRTPS_DEFAULT_PROFILES_FILE) set to "
    "share/uniref_ros/config/fastdds_shm.xml"
)
_OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def quality(reliability: str, depth: int) -> QoSProfile:
    """A profile that keeps the last `depth` messages. reliability: "reliable" or "best_effort"."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy[reliability.upper()]
    )


def latched() -> QoSProfile:
    """Of a topic whose last message reaches who comes later."""
    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def overridable() -> QoSOverridingOptions:
    """Lets `qos_overrides.<topic>.<publisher|subscription>.<policy>` parameters change a profile."""
    return QoSOverridingOptions(_OVERRIDABLE)


def resolved(node: Node, base: str, suffix: str = "") -> str:
    """The full name of the topic `base` + `suffix` after remapping.

    suffix: of a transport, such as "/compressed". As in image_transport, who remaps `base` remaps it too,
    unless it is remapped by itself.
    """
    own = node.resolve_topic_name(base + suffix)
    if suffix and own == node.resolve_topic_name(base + suffix, only_expand=True):
        return node.resolve_topic_name(base) + suffix
    return own


def listen(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    *,
    on_lost: Callable[[Any], None] | None = None,
    on_incompatible: Callable[[Any], None] | None = None,
    raw: bool = False,
) -> Any:
    """A subscription with an overridable profile. raw: the callback is given a message's bytes. on_lost,
    on_incompatible: called with rclpy's event, where the middleware tells."""

    def make(events: SubscriptionEventCallbacks) -> Any:
        return node.create_subscription(
            kind,
            topic,
            callback,
            profile,
            event_callbacks=events,
            qos_overriding_options=overridable(),
            raw=raw,
        )

    try:
        return make(SubscriptionEventCallbacks(incompatible_qos=on_incompatible, message_lost=on_lost))
    except UnsupportedEventTypeError:  # not every middleware tells
        return make(SubscriptionEventCallbacks())


def mismatch(topic: str, event: Any) -> str:
    """What rclpy's event of incompatible quality of service says, for people."""
    policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
    count = event.total_count
    return (
        f"{count} publisher{'s' * (count > 1)} of {topic} offer{'s' * (count == 1)} less than is asked for "
        f"({policy}), so nothing of {'theirs' if count > 1 else 'it'} arrives"
    )


def with_info(callback: Callable[[Any, Mapping[str, Any]], None]) -> Callable[..., None]:
    """`callback(message, info)` as this rclpy calls it. info: its MessageInfo, empty where it gives none."""
    if hasattr(Subscription, "CallbackType"):
        return callback
    return lambda message: callback(message, {})


IMAGE_TYPES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
"""By image_transport."""
_MENTIONED = 4  # topics at most


def similar_topics(node: Node, topic: str) -> list[str]:
    """Image topics of other nodes that somebody publishes, those with the most similar names first."""
    own = f"{node.get_fully_qualified_name()}/"
    found = [
        name
        for name, types in node.get_topic_names_and_types()
        if any(kind in IMAGE_TYPES.values() for kind in types)
        and name != topic
        and not name.startswith(own)
        and node.count_publishers(name)
    ]
    alike = difflib.SequenceMatcher(b=topic, autojunk=False)

    def likeness(name: str) -> float:
        alike.set_seq1(name)
        return -alike.ratio()

    return sorted(found, key=likeness)[:_MENTIONED]


def types_sent(node: Node, topic: str) -> list[str]:
    """What its publishers say that they send, such as sensor_msgs/msg/Image."""
    return sorted({one.topic_type for one in node.get_publishers_info_by_topic(topic)})


def type_name(kind: type) -> str:
    """The name of a message type, such as sensor_msgs/msg/Image."""
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def explain_silence(
    topic: str,
    *,
    transport: str,
    seconds: float | None,
    publishers: int,
    incompatible: int,
    types: Sequence[str] = (),
    others: Sequence[str] = (),
) -> str:
    """Why no image may have come. transport: image_transport. seconds: since the last one, None for never.
    publishers: that the node sees on the topic. incompatible: of them, whose quality of service does not
    match the subscription's. types: what they send. others: image topics that somebody does publish."""
    text = f"no image on {topic} " + ("yet" if seconds is None else f"for {seconds:.1f} s")
    if not publishers:
        text += ": nobody publishes it"
        if not others:
            return text
        text += f"; image topics that are published: {', '.join(others)}"
        if f"{topic}/compressed" in others:
            text += f" (image_transport: compressed takes {topic}/compressed)"
        return text
    text += f", though it has {publishers} publisher{'s' * (publishers > 1)}"
    if types and IMAGE_TYPES[transport] not in types:
        return f"{text}: expected {IMAGE_TYPES[transport]}, found {', '.join(types)}{_taker(topic, types)}"
    if incompatible:
        return (
            f"{text}: their quality of service is less than the subscription asks for "
            "(image_reliability: best_effort hears everyone)"
        )
    # A camera that stopped is no fault of the transport.
    return f"{text}; {CURE}" if seconds is None else text


def _taker(topic: str, types: Sequence[str]) -> str:
    """What takes images of these types on this topic, in brackets."""
    transport = next((name for name, kind in IMAGE_TYPES.items() if kind in types), "")
    if not transport:
        return ""
    base = topic.removesuffix(f"/{transport}")
    remap = f", with image remapped to {base}" if base != topic else ""
    return f" (image_transport: {transport} takes it{remap})"
