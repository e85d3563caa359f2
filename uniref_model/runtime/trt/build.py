"""From an ONNX graph to a serialised engine. Types are those of the graph (strongly typed), so that TensorRT
10 and 11 build the same thing; TF32 is off, because rounding products to 10 bits has been seen to cost
detectors accuracy. Builds without a GPU where the library can (TensorRT for RTX)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...errors import RuntimeUnavailable
from .library import Library

OPTIMIZATION_LEVEL = 3
"""TensorRT's default; part of the cache key."""

_FUSED = re.compile(rb"__global__ void (_gemm_mha_v2_0x[0-9a-f]+)\(")


def build_engine(library: Library, path: Path, bucket: int) -> bytes:
    """Build the graph at `path` for a constant number of objects. Raises RuntimeUnavailable with TensorRT's
    reasons."""
    trt = library.module
    _forget_errors(library)
    builder = trt.Builder(library.logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse_from_file(str(path)):
        reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise RuntimeUnavailable(f"TensorRT {library.version} cannot read {path.name}: {reasons}")
    fix_objects(network, bucket)
    config = builder.create_builder_config()
    config.builder_optimization_level = OPTIMIZATION_LEVEL
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if not library.strongly_typed and ".fp16" in path.suffixes:
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        reasons = "; ".join(getattr(library.logger, "errors", [])) or "it gave no reason"
        raise RuntimeUnavailable(f"TensorRT {library.version} cannot build {path.name}: {reasons}")
    return bytes(engine)


def fix_objects(network: Any, bucket: int) -> None:
    """Make every input's symbolic dimension, which only counts objects, the constant `bucket`: an engine
    without profiles, in which all shape arithmetic is gone."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if any(size < 0 for size in tensor.shape):
            tensor.shape = tuple(bucket if size < 0 else size for size in tensor.shape)


def fused_attentions(engine: bytes) -> int:
    """How many kernels of an engine are whole attentions (MatMul, Softmax, MatMul in one). Read from the
    source that TensorRT for RTX keeps in its engines; 0 for those of other TensorRTs, which hold none."""
    return len(_FUSED.findall(engine))


def _forget_errors(library: Library) -> None:
    if hasattr(library.logger, "errors"):
        library.logger.errors = []


def _network_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    if hasattr(flags, "STRONGLY_TYPED"):
        return 1 << int(flags.STRONGLY_TYPED)
    if hasattr(flags, "EXPLICIT_BATCH"):  # 8.6, where it has to be asked for
        return 1 << int(flags.EXPLICIT_BATCH)
    return 0  # every network is strongly typed
