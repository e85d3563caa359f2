"""From an ONNX graph to a serialised engine. Types are those of the graph (strongly typed), so that TensorRT
10 and 11
build the same thing; TF32 is off, because rounding products to 10 bits has been seen to cost detectors
accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import RuntimeUnavailable
from .library import Library

OPTIMIZATION_LEVEL = 3
"""TensorRT's default; part of the cache key."""


def build_engine(library: Library, path: Path, bucket: int) -> bytes:
    """Build the graph at `path` for a constant number of objects. Raises RuntimeUnavailable with TensorRT's
    reasons."""
    trt = library.module
    builder = trt.Builder(library.logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, library.logger)
    if not parser.parse_from_file(str(path)):
        reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise RuntimeUnavailable(f"TensorRT {library.version} cannot read {path.name}: {reasons}")
    config = builder.create_builder_config()
    config.builder_optimization_level = OPTIMIZATION_LEVEL
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    _fix_objects(builder, network, config, bucket)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RuntimeUnavailable(f"TensorRT {library.version} cannot build {path.name}; its log says why")
    return bytes(engine)


def _network_flags(trt: Any) -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)  # where it is missing, every network is strongly typed


def _fix_objects(builder: Any, network: Any, config: Any, bucket: int) -> None:
    """Set every symbolic dimension, which only counts objects, to the batch size."""
    profile = builder.create_optimization_profile()
    symbolic = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if any(size < 0 for size in tensor.shape):
            symbolic = True
            shape = tuple(bucket if size < 0 else size for size in tensor.shape)
            profile.set_shape(tensor.name, shape, shape, shape)
    if symbolic:
        config.add_optimization_profile(profile)
