"""The parts of `gpu`, each a process of its own: `python -m benchmarks.efficiency.gpu_parts PART '{plan}'`.

A part prints a line of JSON for everything that it has measured, at once: whoever cuts it off keeps what
there is. What cannot be done (no such runtime, a graph that cannot be captured) is a line, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniref_model.errors import UniRefError
from uniref_model.profiling.figures import percentiles
from uniref_model.profiling.latency import flatness
from uniref_model.profiling.wrapped import Timed
from uniref_model.runtime import Runtime, load_runtime
from uniref_model.runtime.memory import resident_mb
from uniref_model.scene import boxes
from uniref_model.tracking import Tracker, TrackerConfig

from ..runtimes import SteadyRuntime

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much of everything. frame: the camera's (height, width). counts: objects, what matters most first.
    networks: config name and (height, width), of the parts in PyTorch; big: the one that is exported.
    frames: timed, after as many again for the warm-up, at most 10. flat: frames of the long runs."""

    device: str
    threads: int
    frame: tuple[int, int]
    nano_sizes: tuple[tuple[int, int], ...]
    networks: tuple[tuple[str, tuple[int, int]], ...]
    big: tuple[str, tuple[int, int]]
    counts: tuple[int, ...]
    frames: int
    flat: int

    @classmethod
    def from_json(cls, text: str) -> Plan:
        def frozen(value: Any) -> Any:
            return tuple(frozen(item) for item in value) if isinstance(value, list) else value

        return cls(**{name: frozen(value) for name, value in json.loads(text).items()})

    @property
    def warm_up(self) -> int:
        return min(10, self.frames)


def roof(plan: Plan) -> Iterator[Row]:
    """What the device can do at most: matrices multiplied in bfloat16 and in float32, and memory copied."""
    import torch

    side, rounds = (8192, 20) if plan.device == "cuda" else (256, 2)
    for name, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        a = torch.randn(side, side, device=plan.device, dtype=kind)
        ms = _clock(lambda a=a: a @ a, rounds, plan.device)
        yield {"roof": name, "tflops": 2 * side**3 / min(ms) / 1e9}
    block = torch.zeros(side * side * 4, device=plan.device, dtype=torch.uint8)
    ms = _clock(block.clone, rounds, plan.device)
    yield {"roof": "memory", "gb_per_s": 2 * block.numel() / min(ms) / 1e6}  # read and written


def nano(plan: Plan) -> Iterator[Row]:
    """The shipped model on ONNX Runtime, through the tracker, on camera frames."""
    for size in plan.nano_sizes:
        with load_runtime("uniref_nano", size, "onnxruntime", plan.threads, plan.device) as runtime:
            yield from _table("uniref_nano", "ONNX Runtime", runtime, plan)


def stages(plan: Plan) -> Iterator[Row]:
    """Each graph's network in PyTorch: float32, TF32, bfloat16, and that as a CUDA graph; with random
    weights, which take as long."""
    import torch

    torch.set_num_threads(plan.threads)
    torch.set_grad_enabled(False)
    for name, size in plan.networks:
        graphs = _graphs(name, size)
        for count in plan.counts:
            for stage, (module, inputs) in graphs.items():
                module.to(plan.device)
                given = [_of(count, tensor, per_object).to(plan.device) for tensor, per_object in inputs]
                facts = {"model": name, "size": size, "objects": count, "stage": stage}
                facts |= _work(module, given)
                for precision in _precisions(plan.device):
                    row = facts | {"runtime": f"PyTorch {precision}"}
                    try:
                        call = _called(module, given, precision)
                        yield row | {"ms": percentiles(_clock(call, plan.frames, plan.device))}
                    except Exception as error:  # a graph that cannot be captured stops no other
                        yield row | {"refused": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}


def tracked(plan: Plan) -> Iterator[Row]:
    """The networks in PyTorch as the runtime runs them, through the tracker, on camera frames."""
    for name, size in plan.networks:
        with _torch_runtime(name, size, plan) as runtime:
            yield from _table(name, "PyTorch fp32", runtime, plan)


def exported(plan: Plan) -> Iterator[Row]:
    """The large network as graphs on ONNX Runtime, through the tracker, on camera frames."""
    from uniref_model.export.onnx import ExportOptions, export_model

    name, size = plan.big
    with tempfile.TemporaryDirectory() as folder:
        options = ExportOptions((size,), (1,), "fp32", ("grid_sample",), half_weights=False)
        export_model(_network(name), Path(folder), options)
        with load_runtime(folder, size, "onnxruntime", plan.threads, plan.device) as runtime:
            yield from _table(name, "ONNX Runtime", runtime, plan)


def tensorrt(plan: Plan) -> Iterator[Row]:
    """The shipped model on whatever TensorRT accepts this device, behind its parity gate; or why none."""
    for size in plan.nano_sizes[:1]:
        try:
            with load_runtime("uniref_nano", size, "tensorrt", plan.threads, plan.device) as runtime:
                yield {"facts": runtime.describe()}
                yield from _table("uniref_nano", "TensorRT", runtime, plan)
        except UniRefError as error:
            yield {"model": "uniref_nano", "runtime": "TensorRT", "size": size, "refused": str(error)[:500]}


def flat_nano(plan: Plan) -> Iterator[Row]:
    """Thousands of frames of one object: ONNX Runtime."""
    size = plan.nano_sizes[0]
    with load_runtime("uniref_nano", size, "onnxruntime", plan.threads, plan.device) as runtime:
        yield _long("uniref_nano", "ONNX Runtime", runtime, plan)


def flat_torch(plan: Plan) -> Iterator[Row]:
    """Thousands of frames of one object: the first network in PyTorch."""
    name, size = plan.networks[0]
    with _torch_runtime(name, size, plan) as runtime:
        yield _long(name, "PyTorch fp32", runtime, plan)


PARTS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    part.__name__: part for part in (roof, nano, stages, flat_nano, tracked, flat_torch, tensorrt, exported)
}
"""In this order: what needs least and says most comes first."""


def _table(model: str, runtime_name: str, runtime: Runtime, plan: Plan) -> Iterator[Row]:
    for count in plan.counts:
        table = _follow(runtime, count, plan.frames, plan)
        parts = ("encode_image", "segment", "encode_reference", "network", "host", "frame")
        for part in parts:
            yield {
                "model": model,
                "runtime": runtime_name,
                "size": runtime.size,
                "objects": count,
                "stage": part,
                "ms": percentiles(table[part]),
            }


def _long(model: str, runtime_name: str, runtime: Runtime, plan: Plan) -> Row:
    before = _device_mb()
    table = _follow(runtime, 1, plan.flat, plan)
    row = {"model": model, "runtime": runtime_name, "size": runtime.size, "frames": plan.flat}
    return row | {"flat": flatness(table), "device_mb": [before, _device_mb()]}


def _follow(runtime: Runtime, count: int, frames: int, plan: Plan) -> dict[str, np.ndarray]:
    """Milliseconds by part, and resident MB, of every frame after the warm-up. Predictions are computed and
    replaced by fixed masks, so that every object is seen in every frame and renews its reference."""
    pictures, masks = boxes(count, plan.frame)
    steady = SteadyRuntime(runtime)
    steady.hold(masks)
    timed = Timed(steady)
    tracker = Tracker(
        timed, TrackerConfig(max_objects=count, mask_threshold=0.0, min_area=1, recheck_every=0)
    )
    for mask in masks:
        tracker.add_mask(mask)
    parts = ("encode_image", "segment", "encode_reference", "network", "host", "frame", "memory")
    table = {part: np.zeros(frames, np.float32) for part in parts}  # made beforehand: nothing grows
    for index in range(plan.warm_up + frames):
        timed.take()
        timings = tracker.step(pictures[index % len(pictures)]).timings
        row = index - plan.warm_up
        if row < 0:
            continue
        for part in parts[:3]:
            table[part][row] = timings[part]
        table["network"][row], table["frame"][row] = timed.take(), timings["total"]
        table["host"][row] = table["frame"][row] - table["network"][row]
        table["memory"][row] = resident_mb()
    return table


def _network(name: str) -> Any:
    import torch

    from uniref_model.network.config import ModelConfig
    from uniref_model.network.model import UniRef

    torch.manual_seed(0)
    return UniRef(ModelConfig.from_name(name), with_text=False).eval()


def _torch_runtime(name: str, size: tuple[int, int], plan: Plan) -> Runtime:
    from uniref_model.runtime.pytorch import TorchRuntime

    return TorchRuntime(_network(name), size=size, threads=plan.threads, device=plan.device)


def _graphs(name: str, size: tuple[int, int]) -> dict[str, tuple[Any, list[tuple[Any, bool]]]]:
    """By stage: a module of static shapes, and its example inputs, each with whether it is per object."""
    from uniref_model.export.graphs import build_graphs
    from uniref_model.export.prepare import prepare

    graphs = build_graphs(prepare(_network(name), half_weights=False), size, shared=False)
    return {
        stage: (graph.module, [(tensor, key in graph.per_object) for key, tensor in graph.inputs.items()])
        for stage, graph in graphs.items()
    }


def _of(count: int, example: Any, per_object: bool) -> Any:
    """An example input for so many objects."""
    return example[:1].repeat(count, *[1] * (example.dim() - 1)) if per_object else example


def _work(module: Any, inputs: list[Any]) -> Row:
    """What a stage cannot do without: floating-point operations, and its parameters' numbers."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return {
        "gflop": counter.get_total_flops() / 1e9,
        "parameters": sum(tensor.numel() for tensor in module.parameters()),
    }


def _precisions(device: str) -> tuple[str, ...]:
    return ("bf16 graph", "bf16", "tf32", "fp32") if device == "cuda" else ("fp32", "bf16")


def _called(module: Any, inputs: list[Any], precision: str) -> Callable[[], Any]:
    """The stage in this precision, ready to be called again and again."""
    import torch

    kind = inputs[0].device.type
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"

    def run() -> Any:
        with torch.autocast(kind, torch.bfloat16) if precision.startswith("bf16") else nullcontext():
            return module(*inputs)

    if not precision.endswith("graph"):
        return run
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what a library sets up at first must not be captured
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _clock(work: Callable[[], Any], rounds: int, device: str) -> list[float]:
    """Milliseconds of each round, after a few that do not count."""
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for index in range(min(5, rounds) + rounds):
        wait()
        start = time.perf_counter()
        work()
        wait()
        if index >= min(5, rounds):
            times.append(1000 * (time.perf_counter() - start))
    return times


def _device_mb() -> float | None:
    """Memory in use on the first NVIDIA device, MB; None without one."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return float(answer.stdout.splitlines()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def main(arguments: list[str]) -> int:
    """Print the part's rows."""
    name, plan = arguments
    for row in PARTS[name](Plan.from_json(plan)):
        print(json.dumps(row, default=float), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
