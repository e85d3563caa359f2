"""A job's tasks on a Ray cluster: a task a unit, results by the store, which all machines must reach."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import RuntimeUnavailable
from ..limits import quoted
from .engine import Done, Event, Failed, Unit, do_unit
from .store import Store

_AHEAD = 4  # units handed to Ray for each of its CPUs


class Cluster:
    """Ray, whose own retries do a unit again when a worker or a machine dies. Every machine needs this
    package, and the recordings and results under the same paths or addresses."""

    def __init__(
        self,
        address: str,
        *,
        workers: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
        retries: int = 3,
    ) -> None:
        """address: of a cluster, or "local" for one on this machine, with `workers` workers. cpus, gpus: what
        a unit needs. Raises RuntimeUnavailable."""
        try:
            import ray
        except ImportError as error:
            raise RuntimeUnavailable(f"a cluster needs ray ({error}): pip install ray") from error
        self._ray: Any = ray
        self._address = address
        self._workers = workers
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": retries}
        self._retries = retries

    def run(self, units: Sequence[Unit], store: Store) -> Iterator[Event]:
        """See `Engine`. Raises RuntimeUnavailable when the cluster is not there."""
        ray = self._ray
        self._connect()
        try:
            do = ray.remote(**self._options)(_do)
            threads = max(1, round(self._options["num_cpus"]))
            most = _AHEAD * max(1, round(ray.cluster_resources().get("CPU", 1)))
            waiting, running = deque(units), dict[Any, Unit]()
            while waiting or running:
                while waiting and len(running) < most:
                    unit = waiting.popleft()
                    running[do.remote(unit, store, threads)] = unit
                ready, _ = ray.wait(list(running), num_returns=1)
                for reference in ready:
                    yield from self._events(reference, running.pop(reference))
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        here = self._address == "local"
        options = {"num_cpus": self._workers} if here else {"address": self._address}
        try:
            self._ray.init(
                **options,
                log_to_driver=False,
                logging_level="error",
                include_dashboard=False if here else None,
            )
        except Exception as error:  # what it raises depends on what does not answer
            raise RuntimeUnavailable(
                f"no Ray cluster at {quoted(self._address)}: {quoted(error, 200)}"
            ) from error

    def _events(self, reference: Any, unit: Unit) -> list[Event]:
        try:
            return self._ray.get(reference)
        except Exception as error:  # its worker died again and again
            reason = f"its worker died {self._retries + 1} times: {type(error).__name__}"
            return [Failed(task.name, reason) for task in unit]


def _do(unit: Unit, store: Store, threads: int) -> list[Event]:
    events: list[Event] = []
    for task in unit:  # what a worker that died has already done
        result = store.result(task.name)
        if result is None or result["fingerprint"] != task.fingerprint():
            break
        events.append(Done(task.name, result["frames"]))
    do_unit(
        unit[len(events) :],
        store,
        lambda event: events.append(event) if isinstance(event, Done | Failed) else None,
        threads,
    )
    return events
