"""Two runs on one machine do not meet: scripts/quiet-domain finds a ROS domain that nobody is in."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "quiet-domain"


def domain_from(start: int) -> int:
    return int(subprocess.run([str(SCRIPT), str(start)], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not Path("/proc/net/udp").exists(), reason="only Linux says which ports are taken")
def test_a_domain_that_somebody_is_in_is_passed_over():
    free = domain_from(50)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as participant:
        participant.bind(("127.0.0.1", 7412 + 250 * free))
        assert domain_from(free) != free
    assert 40 <= domain_from(99) <= 99
