"""Stands for browsers that look at the console: `python -m benchmarks.node.browsers URL COUNT`.

A labelled double: each connects as the page does, acknowledges every picture at once, and decodes none, for
real browsers run on other machines. It ends on SIGINT and prints one line of JSON: pictures and their ages.
"""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import sys
import time

import numpy as np
from websockets.asyncio.client import connect


async def look(url: str, ages: list[float]) -> None:
    """Look until cancelled. ages: of each picture in ms, from its image's stamp to its arrival."""
    async with connect(url, max_size=None, compression=None) as socket:
        async for message in socket:
            if isinstance(message, str):
                continue
            size = struct.unpack_from("<I", message)[0]
            header = json.loads(message[4 : 4 + size])
            sec, nanosec = header["stamp"]
            ages.append(1e3 * (time.time() - sec - 1e-9 * nanosec))
            await socket.send(json.dumps({"type": "shown", "number": header["number"]}))


async def run(url: str, count: int) -> None:
    """Look with so many until SIGINT, then say what they saw."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, over.set)
    ages: list[list[float]] = [[] for _ in range(count)]
    began = time.monotonic()
    tasks = [asyncio.ensure_future(look(url, own)) for own in ages]
    await over.wait()
    seconds = time.monotonic() - began
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    faults = [repr(fault) for fault in ended if not isinstance(fault, asyncio.CancelledError)]
    every = [age for own in ages for age in own] or [float("nan")]
    rates = [len(own) / seconds for own in ages]
    report = {
        "pictures_per_s": {"least": round(min(rates), 2), "mean": round(float(np.mean(rates)), 2)},
        "age_ms": dict(zip(("p50", "p95", "p99"), np.percentile(every, (50, 95, 99)).round(1), strict=True)),
        "faults": faults,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2])))
