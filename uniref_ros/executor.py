"""Running a node as a process: transitions that take minutes block nothing else, and a signal ends it within
two seconds whatever it is doing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Container
from typing import Any, TypeVar

import rclpy
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import (
    ConditionReachedException,
    Executor,
    ExternalShutdownException,
    ShutdownException,
    TimeoutException,
)
from rclpy.node import Node

N = TypeVar("N", bound=Node)

_NOTHING_TO_DO = (
    TimeoutException,
    ShutdownException,
    ExternalShutdownException,
    ConditionReachedException,
)


class NodeExecutor(Executor):
    """One thread for every callback, except those of slow callback groups: each of them gets its own.

    Receiving images costs what it does under a SingleThreadedExecutor, and loading a model for minutes does
    not keep services and diagnostics waiting, as under a MultiThreadedExecutor; nor does it keep the process
    from ending, for its threads are daemons. What a callback raises is given to `on_error`, and spinning goes
    on.
    """

    _sigint_gc = None
    """rclpy's: its `__del__` asks for it, also when a signal came while the executor was made."""

    def __init__(
        self,
        on_error: Callable[[Exception], object],
        *,
        slow: Container[CallbackGroup] = (),
        until: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> None:
        """slow: callback groups whose callbacks get a thread. until: ends `spin_until_over`; whoever makes it
        true wakes the executor. options: for rclpy's Executor."""
        super().__init__(**options)
        self._on_error = on_error
        self._slow = slow
        self._until = until

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback and run it, or have it run."""
        try:
            task, entity, _ = self.wait_for_ready_callbacks(timeout_sec, None, self._until)
        except _NOTHING_TO_DO:
            return
        except Exception:
            # A signal takes the context away at any moment, also from under the making of a wait set.
            if self.context.ok():
                raise
            return
        if entity is not None and entity.callback_group in self._slow:
            threading.Thread(target=self._run, args=(task,), name="uniref transition", daemon=True).start()
        else:
            self._run(task)

    def spin_until_over(self) -> None:
        """Run callbacks until a signal comes, or `until` holds."""
        while self.context.ok() and not self._until():
            self.spin_once()

    def _run(self, task: Any) -> None:
        task()
        error = task.exception()
        if error is not None and self.context.ok():
            self._on_error(error)


def spin(
    node: Node,
    on_error: Callable[[Exception], object],
    *,
    slow: Container[CallbackGroup] = (),
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Run a node's callbacks until a signal comes, or `until` holds; see `NodeExecutor`. A signal may have
    come before."""
    try:
        executor = NodeExecutor(on_error, slow=slow, until=until, context=node.context)
        executor.add_node(node)
    except Exception:  # of several kinds: the context was taken away under it
        if node.context.ok():
            raise
        return
    with contextlib.suppress(KeyboardInterrupt):
        executor.spin_until_over()
    executor.shutdown(timeout_sec=0)


def steady_timer(
    node: Node, period: float, callback: Callable[[], None], group: CallbackGroup | None = None
) -> Any:
    """A timer of the machine's own clock, which runs on when use_sim_time is set and no clock is published.
    group: one of its own for None."""
    group = group or MutuallyExclusiveCallbackGroup()
    return node.create_timer(
        period, callback, callback_group=group, clock=Clock(clock_type=ClockType.STEADY_TIME)
    )


def prepare_signals() -> None:
    """Leave ^C to rclpy (and before that to the system): no KeyboardInterrupt comes in the middle of
    something. For `main`, before `rclpy.init`."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_ros(name: str, args: list[str] | None) -> bool:
    """rclpy.init for the process of a node. False when the arguments are refused, which is logged."""
    try:
        rclpy.init(args=args)
    except Exception as error:  # of several kinds, by the distribution
        first = str(error).split(", at ")[0]
        rclpy.logging.get_logger(name).error(f"cannot start: {first}")
        return False
    return True


def make_node(kind: Callable[[], N], name: str, *refusals: type[Exception]) -> N | None:
    """The node of this kind. None when what it was given is refused (which is logged, and rclpy is still
    there) or a signal came while it was made (and rclpy is not)."""
    try:
        return kind()
    except Exception as error:
        if rclpy.ok():
            if not isinstance(error, (ParameterException, *refusals)):
                raise
            rclpy.logging.get_logger(name).error(f"cannot start: {error}")
        return None


def answer_refused_transitions(node: Any) -> None:
    """Have a life-cycle node answer a transition that its state does not allow, with no success.

    rclpy before Kilted raises instead (`LifecycleNodeMixin.__change_state`), and whoever asked waits.
    """
    service = node._service_change_state
    change = service.callback

    def answered(request: Any, response: Any) -> Any:
        try:
            return change(request, response)
        except RuntimeError as error:  # rclpy's RCLError is one
            node.get_logger().error(f"no such transition now: {str(error).split(', at ')[0]}")
            response.success = False
            return response

    service.callback = answered


def end_process(status: int) -> None:
    """End at once. For a process in which a thread is still deep in a library: waiting for it could take
    minutes, and an interpreter that shuts down under it crashes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
