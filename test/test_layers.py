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


# The house, from the ground up: each room, and what of ours it may import. It may stand only on rooms above
# it in this table, so no arrow can point up.
FILES = {"errors", "limits", "settings", "configs", "prompts", "picture_size", "outputs", "pictures"}
FILES |= {"reading", "label_pngs", "scene"}
GROUND = FILES | {"known_objects"}
ROOMS: dict[str, set[str]] = {
    "": set(),  # the face: lazy, see below
    "errors": set(),
    "limits": {"errors"},
    "configs": set(),
    "prompts": {"errors", "limits"},
    "picture_size": {"errors", "limits"},
    "outputs": {"errors", "limits"},
    "reading": {"errors", "limits", "outputs"},
    "settings": {"errors", "limits", "reading"},
    "pictures": {"errors", "limits", "outputs", "picture_size", "reading"},
    "label_pngs": {"errors"},
    "stopping": set(),
    "scene": set(),
    "known_objects": FILES,
    "image_messages": GROUND,
    "network": GROUND,
    "runtime": GROUND | {"", "network"},  # network: the PyTorch runtime alone
    "tracking": GROUND | {"runtime"},
    "video": GROUND,
    "voice": GROUND | {"tracking"},
    "requests": GROUND | {"tracking", "image_messages"},
    "bags": GROUND | {"tracking", "video", "image_messages", "requests"},
    "offline": GROUND | {"runtime", "tracking", "video", "requests", "bags"},
    "labels": GROUND | {"runtime", "tracking", "video", "bags", "offline"},
    "profiling": GROUND | {"runtime", "tracking"},
    # the laboratory, which robots do not install
    "export": GROUND | {"", "network", "runtime"},
    "datasets": GROUND,
    "synth": GROUND | {"datasets"},
    "training": GROUND | {"network", "runtime", "export", "datasets", "synth"},
    "evaluation": GROUND | {"network", "runtime", "tracking", "video", "datasets", "synth"},
    # who stands on all of it
    "commands": GROUND
    | {"", "network", "runtime", "tracking", "video", "bags", "offline"}
    | {"export", "synth", "datasets", "labels", "training", "evaluation", "profiling"},
    "cli": GROUND | {"", "runtime", "tracking", "video", "offline", "labels", "commands", "stopping"},
    "uniref_ros": GROUND
    | {"image_messages", "runtime", "tracking", "requests", "video", "voice", "stopping"},
    "console": GROUND | {"tracking", "requests", "uniref_ros", "stopping"},
    "reference": {"uniref_ros", "console"},
}


LABORATORY = {"export", "datasets", "synth", "training", "evaluation"}
LATE = {"commands.suite", "commands.pack", "commands.preview"}  # loaded by the laboratory's commands alone


def room_of(module: str) -> str:
    """The room a module stands in: a package or file right under uniref_model ("" is its face), or
    uniref_ros, of which what stands on the nodes has rooms of its own."""
    parts = module.split(".")
    if parts[0] == "uniref_model":
        return "".join(parts[1:2])
    return parts[1] if parts[1:2] in (["console"], ["reference"]) else parts[0]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in files(MODEL) + files(ROOT / "uniref_ros")}


def ours(path: Path) -> set[str]:
    """The modules of this project that a file imports, lazily too; what the face names for type checkers
    only is no arrow."""
    module, found = module_of(path), set()
    for name in imported(path, top_only=module == "uniref_model"):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        if name and name != module and not module.startswith(name + "."):
            found.add(name)
    return found


def test_every_room_is_in_the_table():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


def test_the_table_has_no_arrow_up():
    below: set[str] = set()
    for room, allowed in ROOMS.items():
        assert allowed <= below, f"{room} stands on {sorted(allowed - below)}, further down in the table"
        below.add(room)


@pytest.mark.parametrize("path", MODULES.values(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_what_its_room_may(path):
    room = room_of(module_of(path))
    found = {room_of(name) for name in ours(path)} - {room}
    assert found <= ROOMS[room], f"{room} may not import {sorted(found - ROOMS[room])}"


@pytest.mark.parametrize("path", MODULES.values(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_robot_installs_loads_without_the_laboratory(path):
    module = module_of(path)
    if room_of(module) in LABORATORY or module.removeprefix("uniref_model.") in LATE:
        return
    assert not within(imported(path, top_only=True), *(f"uniref_model.{room}" for room in LABORATORY))


def test_no_file_is_part_of_a_circle():
    arrows = {module: ours(path) for module, path in MODULES.items()}
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for target in arrows[module]:
                walk(target, (*way, module))
            done.add(module)

    for module in arrows:
        walk(module, ())


def test_no_room_is_a_fifth_of_the_house():
    lines: dict[str, int] = {}
    for module, path in MODULES.items():
        count = len(path.read_text(encoding="utf-8").splitlines())
        lines[room_of(module)] = lines.get(room_of(module), 0) + count
    biggest = max(lines, key=lines.get)
    assert lines[biggest] < 0.2 * sum(lines.values()), (
        f"{biggest} has {lines[biggest]} of {sum(lines.values())} lines"
    )


@pytest.mark.parametrize("path", files(MODEL), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_model_package_never_imports_ros(path):
    assert not within(imported(path), *ROS)


@pytest.mark.parametrize(
    "path",
    files(MODEL / "tracking") + files(ROOT / "uniref_ros"),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_tracking_and_the_node_never_import_torch(path):
    assert not within(imported(path), *HEAVY)


def test_of_the_runtimes_the_pytorch_one_alone_knows_the_network():
    knowing = {
        path.name for path in files(MODEL / "runtime") if within(imported(path), "uniref_model.network")
    }
    assert knowing == {"pytorch.py"}


@pytest.mark.parametrize(
    "module",
    [
        "uniref_model",
        "uniref_model.cli",
        "uniref_model.tracking",
        "uniref_model.runtime",
        "uniref_model.commands.track",
    ],
)
def test_importing_it_loads_neither_torch_nor_ros(module):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {HEAVY | ROS!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.split() == []


def test_track_needs_nothing_but_what_pip_install_brings():
    optional = ("PIL", "matplotlib", "pycocotools", "rosbags", "scipy", "starlette", "torch", "rclpy")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({optional!r}))\n"  # as if they were not installed
        "import uniref_model.cli, uniref_model.commands.track"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr


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


def test_importing_the_face_loads_nothing_and_its_names_are_there():
    code = (
        "import sys, uniref_model\n"
        "print('loaded:', *sorted(set(sys.modules) & {'numpy', 'torch', 'cv2', 'onnxruntime', 'yaml'}))\n"
        "print('missing:', *sorted(set(uniref_model.__all__) - set(dir(uniref_model))))\n"
        "from uniref_model import *\n"
        "print(Tracker.__module__, load_runtime.__module__, MaskError.__module__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "loaded:",
        "missing:",
        "uniref_model.tracking.tracker uniref_model.runtime uniref_model.errors",
    ]


def test_a_name_the_face_has_not_is_refused_by_name():
    import uniref_model

    with pytest.raises(AttributeError, match="no_such_name"):
        _ = uniref_model.no_such_name


def test_every_error_is_at_the_face():
    tree = ast.parse((MODEL / "errors.py").read_text(encoding="utf-8"))
    import uniref_model

    errors = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert errors and errors <= set(uniref_model.__all__)
