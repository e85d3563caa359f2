"""A managed node: what a transition raises is told and undone, and it can start by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node

from uniref_model.errors import UniRefError
from uniref_ros.diagnostics import ErrorLog
from uniref_ros.executor import answer_refused_transitions, steady_timer


class ManagedNode(LifecycleNodeMixin, Node):
    """A subclass says what each transition does: `_configure`, `_activate`, `_deactivate`, `_clean_up`; and
    `_halt` and `_release`, which undo them and are called in any state."""

    def __init__(self, name: str, **options: Any) -> None:
        """options: for rclpy's Node, such as namespace, context or parameter_overrides."""
        Node.__init__(self, name, **options)
        self.transitions = ReentrantCallbackGroup()
        """Callback group of whatever may take long: the life cycle's services, and starting by itself."""
        LifecycleNodeMixin.__init__(self, callback_group=self.transitions)
        answer_refused_transitions(self)
        self.failed = False
        """Set when the node was to start by itself and could not."""
        self.errors = ErrorLog(self.get_logger())
        self._changing = threading.Lock()  # held while a transition is carried out
        self._closed = False
        self._state, self._progress = "unconfigured", ""
        self._autostart: Any = None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, make trackers and topics."""
        return self._change("configure", self._configure, "configuring", "inactive", undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to receive and process images."""
        return self._change("activate", self._activate, "activating", "active", undo=self._halt)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop receiving, and give back the memory that only images need; objects and model stay."""
        return self._change("deactivate", self._deactivate, "deactivating", "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model and all topics."""
        return self._change("clean up", self._clean_up, "cleaning up", "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from whatever state."""
        return self._change("shut down", self._release, "shutting down", "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: release everything and be unconfigured again."""
        return self._change("recover", self._release, "recovering", "unconfigured")

    def _configure(self) -> None:
        raise NotImplementedError

    def _activate(self) -> None:
        raise NotImplementedError

    def _deactivate(self) -> None:
        raise NotImplementedError

    def _clean_up(self) -> None:
        raise NotImplementedError

    def _halt(self) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError

    def _change(
        self,
        what: str,
        work: Callable[[], None],
        during: str,
        after: str,
        undo: Callable[[], None] = lambda: None,
    ) -> TransitionCallbackReturn:
        """Carry out a transition. What it raises is told (rclpy itself would swallow it) and undone."""
        with self._changing:
            before, self._state = self._state, during
            try:
                if self._closed:
                    raise UniRefError("the node is closed")
                work()
            except Exception as error:
                undo()
                self._state = before
                if self.context.ok():  # else a signal came in the middle of it
                    self.errors.report_exception(f"cannot {what}", error)
                return TransitionCallbackReturn.FAILURE
            finally:
                self._progress = ""
            self._state = after
            return TransitionCallbackReturn.SUCCESS

    def _start_soon(self) -> None:
        """Have the node configured and activated as soon as it is spun."""
        self._autostart = steady_timer(self, 0.0, self._start, self.transitions)

    def _start(self) -> None:
        timer, self._autostart = self._autostart, None
        if timer is None:
            return  # it was due again before it was gone
        self.destroy_timer(timer)
        done = TransitionCallbackReturn.SUCCESS
        started = self.trigger_configure() == done and self.trigger_activate() == done
        self.failed = not started and self.context.ok()  # a signal in the middle of it is no failure
        if self.failed and self.executor is not None:
            self.executor.wake()  # whoever spins is to see it
