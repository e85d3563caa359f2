"""Arrows point down only: ROS node -> tracking -> runtime -> network, and a robot needs no PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "uniref_model"
ROS = {"rclpy", "uniref_ros", "sensor_msgs", "std_msgs", "geometry_msgs", "diagnostic_msgs", "rcl_interfaces"}
HEAVY = {"torch", "timm", "transformers", "torchvision"}


def imported(path: Path, *, top_only: bool = False) -> set[str]:
    """Absolute names of the modules a file imports; top_only leaves out imports inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef) or _is_type_checking(outer)
        for node in ast.walk(outer)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if top_only and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return names


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def within(names: set[str], *packages: str) -> set[str]:
    return {name for name in names if any(name == p or name.startswith(p + ".") for p in packages)}


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_the_scan_sees_relative_and_lazy_imports():
    cli = MODEL / "cli.py"
    assert within(imported(cli), "uniref_model.commands.track")
    assert not within(imported(cli, top_only=True), "uniref_model.commands.track")
    assert within(imported(MODEL / "tracking" / "tracker.py"), "uniref_model.runtime")


@pytest.mark.parametrize("path", files(MODEL), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_model_package_never_imports_ros(path):
    assert not within(imported(path), *ROS)


@pytest.mark.parametrize(
    "path",
    files(MODEL / "tracking") + files(ROOT / "uniref_ros"),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_tracking_and_the_node_never_import_torch(path):
    names = imported(path)
    assert not within(names, *HEAVY)
    assert not within(
        names, *(f"uniref_model.{name}" for name in ("network", "training", "export", "evaluation"))
    )


@pytest.mark.parametrize("path", files(MODEL / "runtime"), ids=lambda path: path.name)
def test_runtimes_do_not_know_the_tracker(path):
    assert not within(
        imported(path), "uniref_model.tracking", "uniref_model.commands", "uniref_model.training"
    )


@pytest.mark.parametrize("path", files(MODEL / "network"), ids=lambda path: path.name)
def test_the_network_knows_nothing_above_it(path):
    above = ("tracking", "runtime", "commands", "training", "evaluation", "export", "cli")
    assert not within(imported(path), *(f"uniref_model.{name}" for name in above))


@pytest.mark.parametrize(
    "module",
    ["uniref_model.cli", "uniref_model.tracking", "uniref_model.runtime", "uniref_model.commands.track"],
)
def test_importing_it_loads_neither_torch_nor_ros(module):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {HEAVY | ROS!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.split() == []


def test_the_commands_help_starts_without_heavy_libraries():
    code = (
        "import sys\nfrom uniref_model.cli import main\n"
        "main(['--help'])\n"
        "print('loaded:', *sorted(set(sys.modules) & {'torch', 'cv2', 'onnxruntime', 'rclpy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.rstrip().endswith("loaded:")
