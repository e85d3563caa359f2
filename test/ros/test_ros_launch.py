"""The launch files, executed for what they describe.

The real `launch` and `launch_ros` are used where they are installed (a robot); else stand-ins, defined here,
that record what they are given. Nothing is started.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("ament_index_python", reason="ROS 2 is not installed here (make test installs it)")
packages = pytest.importorskip("ament_index_python.packages")
try:
    packages.get_package_share_directory("uniref_ros")
except packages.PackageNotFoundError:
    pytest.skip("the ROS package is not built here (make test builds it)", allow_module_level=True)
if importlib.util.find_spec("launch_ros"):
    pytest.skip(
        "the stand-ins would hide the installed launch; try `ros2 launch` itself", allow_module_level=True
    )

from uniref_ros import voice_command  # noqa: E402
from uniref_ros.parameters import OPTIONS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"


class Recorded(SimpleNamespace):
    """A stand-in for any action: keeps its arguments."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(args=args, kwargs=kwargs)


class LaunchConfiguration(Recorded):
    """Stand-in: looks its value up in the context, a dict here."""

    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


@pytest.fixture
def launch(monkeypatch):
    """Loads a launch file with stand-ins in place of launch and launch_ros."""
    kinds = {
        "launch": ("LaunchDescription",),
        "launch.actions": (
            "DeclareLaunchArgument",
            "IncludeLaunchDescription",
            "OpaqueFunction",
            "SetEnvironmentVariable",
        ),
        "launch.conditions": ("IfCondition",),
        "launch.launch_description_sources": ("PythonLaunchDescriptionSource",),
        "launch.substitutions": (),
        "launch_ros": (),
        "launch_ros.actions": ("Node",),
    }
    for name, members in kinds.items():
        module = ModuleType(name)
        for member in members:
            setattr(module, member, type(member, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["launch.substitutions"].LaunchConfiguration = LaunchConfiguration

    def load(name: str):
        spec = importlib.util.spec_from_file_location(f"{name}_launch", ROOT / "launch" / f"{name}.launch.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def describe(module, **given: str):
    """Declared arguments by name, and the actions that follow for these arguments."""
    entries = module.generate_launch_description().args[0]
    declared = {
        entry.args[0]: entry.kwargs for entry in entries if type(entry).__name__ == "DeclareLaunchArgument"
    }
    setup = next(entry for entry in entries if type(entry).__name__ == "OpaqueFunction").kwargs["function"]
    values = {name: options["default_value"] for name, options in declared.items()} | given
    return declared, setup(values)


def of_kind(actions, kind: str) -> list:
    return [action for action in actions if type(action).__name__ == kind]


def tracker(actions) -> dict:
    return next(n.kwargs for n in of_kind(actions, "Node") if n.kwargs["executable"] == "tracker_node")


@pytest.mark.parametrize("name", ["tracker", "demo"])
def test_every_argument_is_described(launch, name):
    declared, _ = describe(launch(name))
    assert declared and all(len(options["description"]) > 10 for options in declared.values())


def test_the_tracker_takes_its_parameters_from_the_file_and_what_is_given(launch):
    _, actions = describe(launch("tracker"))
    parameters, overrides = tracker(actions)["parameters"]
    assert Path(parameters).is_file() and overrides == {"use_sim_time": False}, "what is not given stays"
    _, actions = describe(
        launch("tracker"),
        cameras="front, left",
        model="/some/model",
        size="192x320",
        runtime="onnxruntime",
        image_transport="compressed",
        depth_transport="compressedDepth",
        reliability="reliable",
        autostart="false",
        prompts="the red mug; the yellow box",
        namespace="robot",
        use_sim_time="true",
    )
    node = tracker(actions)
    assert node["namespace"] == "robot" and node["parameters"][1] == {
        "cameras": ["front", "left"],
        "model": "/some/model",
        "size": "192x320",
        "runtime": "onnxruntime",
        "image_transport": "compressed",
        "depth_transport": "compressedDepth",
        "image_reliability": "reliable",
        "autostart": False,
        "prompts": ["the red mug", "the yellow box"],
        "use_sim_time": True,
    }


def test_other_topics_are_remapped_images_with_their_compressed_forms(launch):
    given = {
        "image": "/camera/color/image_raw",
        "camera_info": "/camera/color/camera_info",
        "depth": "/camera/depth",
    }
    _, actions = describe(launch("tracker"))
    assert tracker(actions)["remappings"] == []
    _, actions = describe(launch("tracker"), **given)
    assert tracker(actions)["remappings"] == [
        *given.items(),
        ("image/compressed", "/camera/color/image_raw/compressed"),
        ("depth/compressedDepth", "/camera/depth/compressedDepth"),
    ]


def test_voice_and_rviz_start_when_they_are_asked_for(launch):
    _, actions = describe(launch("tracker"), voice="true", voice_trigger="push_to_talk", namespace="robot")
    nodes = {n.kwargs["executable"]: n.kwargs for n in of_kind(actions, "Node")}
    assert {name: n["condition"].args for name, n in nodes.items() if "condition" in n} == {
        "voice_command": ("true",),
        "rviz2": ("false",),
    }
    voice = nodes["voice_command"]
    assert voice["namespace"] == "robot"
    assert voice["parameters"][1] == {"trigger": "push_to_talk", "use_sim_time": False}


def test_the_arguments_choices_are_those_of_the_parameters(launch):
    declared, _ = describe(launch("tracker"))
    options = {option.name: option for option in (*OPTIONS, *voice_command.OPTIONS)}
    names = {"reliability": "image_reliability", "voice_trigger": "trigger"}
    checked = 0
    for argument, declaration in declared.items():
        option = options.get(names.get(argument, argument))
        if option is not None and option.choices:
            assert set(declaration["choices"]) == {"", *option.choices}, argument
            checked += 1
    assert checked == 4


def test_large_images_are_provided_for_unless_the_user_did(launch, monkeypatch):
    monkeypatch.delenv(PROFILE, raising=False)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    _, actions = describe(launch("tracker"))
    values = dict(action.args for action in of_kind(actions, "SetEnvironmentVariable"))
    assert Path(values[PROFILE]).is_file() and values["MALLOC_MMAP_THRESHOLD_"] == "268435456"
    assert type(actions[0]).__name__ == "SetEnvironmentVariable", "before the nodes that need it"
    monkeypatch.setenv(PROFILE, "/mine.xml")
    _, actions = describe(launch("tracker"))
    assert not of_kind(actions, "SetEnvironmentVariable")


def test_the_demo_passes_only_arguments_the_tracker_has(launch):
    declared, _ = describe(launch("tracker"))
    _, actions = describe(launch("demo"), prompt="the black bottle")
    include = of_kind(actions, "IncludeLaunchDescription")[0]
    passed = dict(include.kwargs["launch_arguments"])
    assert passed["prompts"] == "the black bottle" and set(passed) <= set(declared)
    assert Path(include.args[0].args[0]).is_file()
    player = of_kind(actions, "Node")[0].kwargs
    assert player["executable"] == "video_player" and Path(player["parameters"][0]["source"]).is_file()


def test_the_executables_the_launch_files_name_are_installed(launch):
    prefix = Path(packages.get_package_prefix("uniref_ros"))
    for name in ("tracker", "demo"):
        for node in of_kind(describe(launch(name))[1], "Node"):
            if node.kwargs["package"] == "uniref_ros":
                assert (prefix / "lib" / "uniref_ros" / node.kwargs["executable"]).is_file()
