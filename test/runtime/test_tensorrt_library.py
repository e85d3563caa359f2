"""The real TensorRT for RTX, from PyPI: it parses and builds without a GPU; only running an engine needs one.

Proprietary (NVIDIA's licence): a test dependency and an optional extra, never redistributed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from uniref_model.errors import RuntimeUnavailable
from uniref_model.runtime.contract import ENGINE_GRAPHS
from uniref_model.runtime.engines import EngineCache, EngineKey
from uniref_model.runtime.files import WEIGHTS
from uniref_model.runtime.trt.build import build_engine, fused_attentions
from uniref_model.runtime.trt.execution import _numpy_types
from uniref_model.runtime.trt.library import Library, load_library, preload_rtx

ROOT = Path(__file__).resolve().parents[2]
MODEL = Path(os.environ.get("UNIREF_TEST_MODEL", WEIGHTS / "uniref_nano"))
GRAPHS = sorted(
    path
    for graph in ENGINE_GRAPHS
    for path in MODEL.glob(f"{graph}_[0-9]*.onnx")
)  # fmt: skip


def _library() -> Library | None:
    try:
        return load_library()
    except RuntimeUnavailable:
        return None


pytestmark = [
    pytest.mark.skipif(
        _library() is None, reason="no TensorRT library (pip install '.[tensorrt-rtx]')"
    ),
    pytest.mark.skipif(not GRAPHS, reason=f"no exported model in {MODEL} (set UNIREF_TEST_MODEL)"),
]


def small(graph: str) -> Path:
    return next(path for path in GRAPHS if path.name == f"{graph}_192x320.onnx")


def facts(path: Path, objects: int) -> EngineKey:
    library = _library()
    return EngineKey(
        f"{path.stem}_x{objects}",
        {
            "graph": hashlib.sha256(path.read_bytes()).hexdigest(),
            "version": library.version,
            "objects": objects,
        },
    )


def test_it_loads_without_a_search_path():
    """As a user's process does: nothing in LD_LIBRARY_PATH, no CUDA installed."""
    if not preload_rtx():
        pytest.skip("another TensorRT than the one for RTX is installed")
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    code = (
        "from uniref_model.runtime.trt.library import load_library as load\n"
        "library = load(); print(library.name, library.version)\n"
        "assert library.module.Builder(library.logger) is not None"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "tensorrt" in done.stdout


# Both sizes and all forms are built; in the quick run the small size's only.
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[] if "192x320" in p.name else [pytest.mark.slow]) for p in GRAPHS],
    ids=lambda path: path.stem,
)
def test_every_shipped_graph_becomes_an_engine(path, tmp_path):
    library = _library()
    cache = EngineCache(tmp_path)
    key = facts(path, 2)
    content, new = cache.get(key, lambda: build_engine(library, path, 2))
    assert new and len(content) > 10_000
    assert cache.get(key, pytest.fail)[0] == content
    if path.name.startswith("segment") and ".fp16" in path.suffixes:
        # words and masks on four levels, and two decoder layers, one kernel each
        assert fused_attentions(content) == 10
    else:
        assert fused_attentions(content) == 0  # none to fuse, or in float32


def test_attention_is_one_kernel_in_small_types(tmp_path):
    """The same graph in float16: all ten attentions fuse, which is what the small type is for."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    precision = pytest.importorskip("uniref_model.export.precision")
    path = tmp_path / "segment_192x320.fp16.onnx"
    onnx.save(precision.with_precision(onnx.load(small("segment")), "fp16"), path)
    assert fused_attentions(build_engine(_library(), path, 1)) == 10


@pytest.mark.parametrize("damage", ["truncate", "corrupt", "swap the note", "remove the note", "other facts"])
def test_a_real_engine_that_was_damaged_is_built_again(tmp_path, damage):
    library, path = _library(), small("encode_reference")
    cache, key = EngineCache(tmp_path), facts(path, 1)
    engine, note = (tmp_path / f"{key.stem}{suffix}" for suffix in (".engine", ".json"))
    builds = []

    def build() -> bytes:
        builds.append(1)
        return build_engine(library, path, 1)

    content, _ = cache.get(key, build)
    if damage == "truncate":
        engine.write_bytes(content[: len(content) // 3])
    elif damage == "corrupt":
        engine.write_bytes(content[:5000] + bytes([content[5000] ^ 0xFF]) + content[5001:])
    elif damage == "swap the note":
        note.write_text(json.dumps(json.loads(note.read_text()) | {"facts": {"graph": "another"}}))
    elif damage == "remove the note":
        note.unlink()
    else:
        key = EngineKey(key.name, {**key.facts, "version": "0.0"})
    again, new = cache.get(key, build)
    assert new and len(builds) == 2 and len(again) > 10_000
    assert cache.get(key, pytest.fail) == (again, False)


RACE = """
import hashlib, sys
from pathlib import Path
from uniref_model.runtime.trt.build import build_engine
from uniref_model.runtime.engines import EngineCache, EngineKey
from uniref_model.runtime.trt.library import load_library
library, path = load_library(), Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
content, new = EngineCache(Path(sys.argv[2])).get(
    EngineKey("race", {"graph": path.name}), lambda: build_engine(library, path, 1)
)
print(new, hashlib.sha256(content).hexdigest())
"""


def test_three_processes_at_once_build_one_engine(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(small("encode_image")), str(tmp_path)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=600)[0].split() for process in processes]
    assert sorted(new for new, _ in answers) == ["False", "False", "True"]
    assert len({digest for _, digest in answers}) == 1
    assert not list(tmp_path.glob("*.part"))


KILLED = """
import sys, time
from pathlib import Path
from uniref_model.runtime.engines import EngineCache, EngineKey
def build():
    print("building", flush=True)
    time.sleep(600)
EngineCache(Path(sys.argv[1])).get(EngineKey("killed", {}), build)
"""


def test_a_process_killed_while_building_blocks_nobody(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert EngineCache(tmp_path).get(EngineKey("killed", {}), lambda: b"engine") == (b"engine", True)


def test_a_damaged_graph_is_refused_with_a_reason(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(small("segment").read_bytes()[:5000])
    with pytest.raises(RuntimeUnavailable, match=r"cannot read broken\.onnx"):
        build_engine(_library(), broken, 1)


def test_the_image_is_cast_before_anything_else():
    """TensorRT refuses a uint8 input that goes anywhere but into a Cast (found by building these graphs)."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    for graph in ("encode_image", "encode_reference"):
        model = onnx.load(small(graph), load_external_data=False)
        assert {node.op_type for node in model.graph.node if "image" in node.input} == {"Cast"}


def test_a_cache_that_cannot_be_written_costs_only_the_next_build(tmp_path, caplog):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    assert EngineCache(blocked / "engines").get(EngineKey("x", {}), lambda: b"engine") == (b"engine", True)
    assert "engines are not kept" in caplog.text


def test_every_number_type_of_engines_is_known():
    """By the names of the real module: a double would know whatever it is asked for."""
    types = _numpy_types(_library().module)
    assert {str(kind).rpartition(".")[2] for kind in types} >= {"FLOAT", "HALF", "INT32", "INT64", "BOOL"}


def test_no_gpu_is_said_in_words():
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    from uniref_model.runtime.trt.device import CudaDevice

    try:
        CudaDevice().close()
    except RuntimeUnavailable as error:
        assert "no NVIDIA GPU" in str(error)
    else:
        pytest.skip("there is a GPU")
