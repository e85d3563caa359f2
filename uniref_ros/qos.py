"""What keeps images from arriving whole, or at all, and what to do about it; and quality of service."""

from __future__ import annotations

from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

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


def overridable() -> QoSOverridingOptions:
    """Lets `qos_overrides.<topic>.<publisher|subscription>.<policy>` parameters change a profile."""
    return QoSOverridingOptions(_OVERRIDABLE)


def explain_silence(topic: str, *, seconds: float | None, publishers: int, incompatible: int) -> str:
    """Why no image may have come. seconds: since the last one, None for never. publishers: that the node sees
    on the topic. incompatible: of them, whose quality of service does not match the subscription's."""
    text = f"no image on {topic} " + ("yet" if seconds is None else f"for {seconds:.1f} s")
    if not publishers:
        return f"{text}: nobody publishes it"
    text += f", though it has {publishers} publisher{'s' * (publishers > 1)}"
    if incompatible:
        return (
            f"{text}: their quality of service is less than the subscription asks for "
            "(image_reliability: best_effort hears everyone)"
        )
    # A camera that stopped is no fault of the transport.
    return f"{text}; {CURE}" if seconds is None else text
