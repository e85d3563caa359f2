"""A model.json of version 2, made one of version 3: the graphs stay as they are, and what was a matter of
their inputs' names is written down."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelFileError
from .contract import ENCODE_IMAGE, ENCODE_TEXT, SEGMENT_SHARED, VERSION, Graph, recognise, to_json
from .files import graph_file, verify_files
from .spec import ModelSpec, check_version, read_json, write_json


def renew(folder: Path) -> bool:
    """Write the contract of a version 2 folder into its model.json; False when it is there already. Every
    graph of the default size is held against it. Raises ModelFileError for other versions and damaged
    files."""
    path = folder / "model.json"
    values = read_json(path)
    if values.get("version") == VERSION:
        ModelSpec.from_dict(values, str(path))
        return False
    if values.get("graphs") != VERSION - 1:
        check_version(values, str(path))
    values = {"version": VERSION, **values, "graphs": to_json(recognise([], []))}
    spec = ModelSpec.from_dict(values, str(path))
    verify_files(folder, spec, [])
    names = {
        graph: graph_file(graph, spec.sizes[0]) for graph in recognise([], [ENCODE_TEXT, SEGMENT_SHARED])
    }
    outputs = _ports(folder / names[ENCODE_IMAGE])[1]
    graphs = recognise(outputs, [graph for graph, name in names.items() if name in spec.sha256])
    for graph in graphs.values():
        _hold_against(folder / names[graph.name], graph)
    digests = values.pop("sha256")  # long, and so the last
    write_json(path, values | {"graphs": to_json(graphs), "sha256": digests})
    return True


def _ports(path: Path) -> tuple[set[str], set[str]]:
    """Names of a graph's inputs and outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's exceptions share no base of their own
        raise ModelFileError(f"ONNX Runtime cannot load {path}: {error}") from error
    return {node.name for node in session.get_inputs()}, {node.name for node in session.get_outputs()}


def _hold_against(path: Path, graph: Graph) -> None:
    takes, gives = _ports(path)
    unknown = takes - {port.name for port in graph.inputs} | gives ^ {port.name for port in graph.outputs}
    if unknown:
        raise ModelFileError(
            f"{path} is no graph of version 2: {', '.join(sorted(unknown))} is not known there"
        )
