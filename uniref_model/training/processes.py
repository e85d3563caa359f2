"""One process or many: the same run, started here or by torchrun, and what its processes share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from uniref_model.errors import UniRefError

PRECISIONS = ("no", "bf16", "fp16")


def launch(run: Callable[..., None], *arguments: Any, processes: int = 1) -> None:
    """Call `run(*arguments)`, in `processes` new processes where there are to be several.

    Where torchrun or `accelerate launch` has started this process among others, it is one of them. Raises
    UniRefError with what every failed process said.
    """
    if processes == 1 or "WORLD_SIZE" in os.environ:
        run(*arguments)
        return
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    wanted = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"uniref-{os.getpid()}",
        max_restarts=0,
        start_method="spawn",
    )
    try:
        elastic_launch(wanted, run)(*arguments)
    except ChildFailedError as error:
        # all of them: the others fail for the first one's sake, and their times are in whole seconds
        told = [f"process {rank} failed: {_message(item)}" for rank, item in sorted(error.failures.items())]
        raise UniRefError("\n".join(told)) from error


def _message(failure: Any) -> str:
    """What a failed process said, without its call stack; a signal where it said nothing."""
    note = failure.message
    return note["message"] if isinstance(note, dict) and "message" in note else str(note)


def open_accelerator(device: str, precision: str = "no", *, threads: int, unused: bool) -> Accelerator:
    """This process's part of the run. threads: for PyTorch on the CPU. unused: whether a step may leave
    parameters without a gradient (a batch without words, or without masks).

    Raises ValueError for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    torch.set_num_threads(threads)
    if device == "cuda":  # as the authors do
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    ddp = DistributedDataParallelKwargs(find_unused_parameters=unused)
    return Accelerator(cpu=device == "cpu", mixed_precision=precision, kwargs_handlers=[ddp])
