"""Who of the browsers talks: one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from uniref_ros.console.clients import VoiceClient
from uniref_ros.console.manners import Allowance
from uniref_ros.console.orders import OrderError

RATE = 16000
"""Samples a second that a browser sends."""
_FASTER = 1.5  # times real time that audio may come: a link that stalled delivers what it held
_BURST = 2 * RATE  # samples
_TAIL = 0.2  # s from the button's release until it is told: the last samples are to be heard before
_LONGEST = 60.0  # s of holding the button


class Floor:
    """The one talk button that all browsers share. For the server's loop."""

    def __init__(self, voice: VoiceClient) -> None:
        self._voice = voice
        self._holder: Hashable | None = None
        self._allowance = Allowance(0, 0, 0)
        self._since = 0.0

    def take(self, who: Hashable, now: float) -> None:
        """Begin to talk. Raises OrderError when nobody hears, or somebody else talks."""
        if not self._voice.hears:
            raise OrderError("nobody hears: start voice_command with source:=topic")
        if self._holder is not None and self._holder != who and now - self._since < _LONGEST:
            raise OrderError("somebody else is talking")
        self._holder, self._since = who, now
        self._allowance = Allowance(_FASTER * RATE, _BURST, now)
        self._voice.press(True)

    def hear(self, who: Hashable, pcm: bytes, now: float) -> None:
        """Audio of who talks; anybody else's is not heard. Raises OrderError for what is no audio, or more of
        it than time has passed."""
        if len(pcm) % 2 or not pcm:
            raise OrderError(f"{len(pcm)} bytes of audio, expected samples of two bytes")
        if who != self._holder:
            return
        if not self._allowance.take(now, len(pcm) // 2):
            raise OrderError(f"more audio than {RATE} samples a second")
        self._voice.play(pcm)

    async def leave(self, who: Hashable) -> None:
        """Talk no more; nothing happens for who did not."""
        if who != self._holder:
            return
        try:
            await asyncio.sleep(_TAIL)
        finally:  # also when the server ends meanwhile
            if who == self._holder:
                self._holder = None
                self._voice.press(False)
