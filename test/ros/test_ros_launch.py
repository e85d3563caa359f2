"""The launch files, executed for what they describe.

The stand-ins for launch and launch_ros, defined here, record what they are given and refuse what the real
ones refuse: unknown keywords, wrong types, choices that are none. `test_ros_launch_real.py` starts the same
files under the real launch where it is installed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml

pytest.importorskip("ament_index_python", reason="ROS 2 is not installed here (make test installs it)")
packages = pytest.importorskip("ament_index_python.packages")
try:
    packages.get_package_share_directory("uniref_ros")
except packages.PackageNotFoundError:
    pytest.skip("the ROS package is not built here (make test builds it)", allow_module_level=True)

from uniref_model.errors import SourceError  # noqa: E402
from uniref_ros import launching, voice_command  # noqa: E402
from uniref_ros.parameters import OPTIONS  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
PROFILE = "FASTDDS_DEFAULT_PROFILES_FILE"


class LaunchDescription:
    def __init__(self, entries: list) -> None:
        assert all(isinstance(entry, Action) for entry in entries)
        self.entries = entries


class Action:
    """Base of the stand-ins for actions."""


class DeclareLaunchArgument(Action):
    def __init__(self, name: str, *, default_value=None, description=None, choices=None) -> None:
        if choices is not None and not choices:
            raise ValueError("choices are empty")
        if choices is not None and default_value not in choices:
            raise RuntimeError(f"{default_value} is not one of {choices}")
        self.name, self.default, self.description, self.choices = name, default_value, description, choices


class OpaqueFunction(Action):
    def __init__(self, *, function, args=None, kwargs=None) -> None:
        self.function = function


class PythonLaunchDescriptionSource:
    def __init__(self, path: str) -> None:
        self.path = path


class IncludeLaunchDescription(Action):
    def __init__(self, source, *, launch_arguments=None) -> None:
        assert isinstance(source, PythonLaunchDescriptionSource)
        self.source, self.arguments = source, dict(launch_arguments or {})
        assert all(isinstance(value, str) for value in self.arguments.values())


class LaunchConfiguration:
    def __init__(self, name: str, *, default: str | None = None) -> None:
        self.name, self.default = name, default

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name] if self.default is None else context.get(self.name, self.default)


class Node(Action):
    """As launch_ros 0.26: its own keywords, and those of ExecuteProcess that we could want."""

    def __init__(
        self, *, executable, package=None, name=None, namespace=None, exec_name=None, parameters=None,
        remappings=None, ros_arguments=None, arguments=None, condition=None, output="log", cwd=None, env=None,
        additional_env=None, respawn=False, respawn_delay=0.0, prefix=None, shell=False, emulate_tty=False,
        sigterm_timeout=None, sigkill_timeout=None, on_exit=None,
    ) -> None:  # fmt: skip
        for text in (executable, package, name, namespace):
            assert text is None or isinstance(text, str)
        for item in parameters or []:
            assert isinstance(item, str | dict)
            if isinstance(item, str):
                assert Path(item).is_file(), item
            for value in item.values() if isinstance(item, dict) else ():
                assert isinstance(value, str | bool | int | float | list) and value != [], value
        assert all(isinstance(a, str) and isinstance(b, str) for a, b in remappings or [])
        assert all(isinstance(item, str) for item in arguments or [])
        assert all(isinstance(v, str) for pair in (additional_env or {}).items() for v in pair)
        assert isinstance(respawn, bool) and isinstance(respawn_delay, float | None)
        assert output in ("log", "screen", "both", "own_log", "full")
        self.__dict__.update({key: value for key, value in locals().items() if key != "self"})


@pytest.fixture
def launch(monkeypatch):
    """Loads a launch file with stand-ins in place of launch and launch_ros."""
    members = {
        "launch": (LaunchDescription,),
        "launch.actions": (DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction),
        "launch.launch_description_sources": (PythonLaunchDescriptionSource,),
        "launch.substitutions": (LaunchConfiguration,),
        "launch_ros": (),
        "launch_ros.actions": (Node,),
    }
    for name, kinds in members.items():
        module = ModuleType(name)
        for kind in kinds:
            setattr(module, kind.__name__, kind)
        monkeypatch.setitem(sys.modules, name, module)

    def load(name: str):
        spec = importlib.util.spec_from_file_location(f"{name}_launch", ROOT / "launch" / f"{name}.launch.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def with_rviz(monkeypatch, tmp_path):
    """As where rviz2 is installed; what is written for it goes with the test."""
    package_without_executables("rviz2", monkeypatch, tmp_path)
    executable = tmp_path / "rviz2" / "lib" / "rviz2" / "rviz2"
    executable.parent.mkdir(parents=True)
    executable.touch(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def package_without_executables(name, monkeypatch, tmp_path) -> None:
    """The index knows this package; nothing is installed for it."""
    found = launching.get_package_prefix

    def prefix(asked):
        return str(tmp_path / name) if asked == name else found(asked)

    monkeypatch.setattr(launching, "get_package_prefix", prefix)


class Context(dict):
    """As launch's LaunchContext, of which the files use its configurations alone."""

    @property
    def launch_configurations(self) -> dict:
        return self


def describe(module, *, pushed: str = "", set_by_group: list[tuple] | None = None, **given: str):
    """Declared arguments by name, and the actions that follow for these arguments; `pushed` is the namespace
    that PushRosNamespace has set, `set_by_group` the parameters that SetParameter has."""
    entries = module.generate_launch_description().entries
    declared = {entry.name: entry for entry in entries if isinstance(entry, DeclareLaunchArgument)}
    assert set(given) <= set(declared)
    for name, value in given.items():
        assert declared[name].choices is None or value in declared[name].choices
    setup = next(entry for entry in entries if isinstance(entry, OpaqueFunction)).function
    context = Context({name: entry.default for name, entry in declared.items()} | given)
    if set_by_group:
        context["global_params"] = set_by_group
    if pushed:
        context["ros_namespace"] = pushed
    return declared, setup(context)


def nodes(actions) -> dict[str, Node]:
    return {action.executable: action for action in actions if isinstance(action, Node)}


def tracker(actions) -> Node:
    return nodes(actions)["tracker_node"]


@pytest.mark.parametrize("name", ["tracker", "demo"])
def test_every_argument_is_described(launch, name):
    declared, _ = describe(launch(name))
    assert declared and all(len(entry.description) > 10 for entry in declared.values())


def test_nothing_given_leaves_everything_to_the_node_and_to_a_groups_setparameter(launch):
    node = tracker(describe(launch("tracker"))[1])
    assert node.parameters == [{}], "not even a file: SetParameter in a group would lose against it"
    assert node.remappings == [] and node.respawn is False


def test_the_tracker_takes_its_parameters_from_the_file_and_what_is_given(launch):
    _, actions = describe(
        launch("tracker"),
        params_file=str(ROOT / "config" / "tracker.yaml"),
        cameras="front, left",
        model="/some/model",
        size="192x320",
        runtime="onnxruntime",
        image_transport="compressed",
        depth_transport="compressedDepth",
        reliability="reliable",
        autostart="false",
        publish_tf="true",
        prompts="the red mug; the yellow box",
        namespace="robot",
        use_sim_time="True",
    )
    node = tracker(actions)
    assert node.namespace == "robot" and Path(node.parameters[0]).name == "tracker.yaml"
    assert node.parameters[1] == {
        "cameras": ["front", "left"],
        "model": "/some/model",
        "size": "192x320",
        "runtime": "onnxruntime",
        "image_transport": "compressed",
        "depth_transport": "compressedDepth",
        "image_reliability": "reliable",
        "autostart": False,
        "publish_tf": True,
        "prompts": ["the red mug", "the yellow box"],
        "use_sim_time": True,
    }


@pytest.mark.parametrize(
    ("spelling", "value"), [("True", True), ("FALSE", False), ("yes", True), ("0", False)]
)
def test_switches_take_any_spelling(spelling, value, launch):
    assert tracker(describe(launch("tracker"), use_sim_time=spelling)[1]).parameters == [
        {"use_sim_time": value}
    ]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"rviz": "true"}, "package rviz2 is not installed"),
        ({"rviz": "maybe"}, "rviz is 'maybe', expected true or false"),
        ({"params_file": "/nowhere.yaml"}, "no file '/nowhere.yaml'"),
        ({"use_sim_time": "2"}, "use_sim_time is '2'"),
        ({"respawn_delay": "soon"}, "respawn_delay is 'soon', expected a number from 0 to 3600"),
        ({"respawn_delay": "nan"}, "respawn_delay is 'nan'"),
        ({"console": "true", "console_port": "http"}, "console_port is 'http', expected a number"),
        ({"console": "true", "console_port": "70000"}, "console_port is '70000'"),
        ({"image": "my camera"}, "image is 'my camera', expected a name such as /camera/image_raw"),
        ({"image": ""}, "image is ''"),
        ({"namespace": "1st"}, "namespace is '1st'"),
        ({"cameras": "left,right", "depth": "/d"}, "depth can be given for one camera, and cameras names 2"),
    ],
)
def test_whatever_is_missing_is_said_before_any_node_is_described(given, reason, launch, monkeypatch):
    found = launching.get_package_prefix

    def absent(name):
        if name == "rviz2":
            raise launching.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(launching, "get_package_prefix", absent)
    with pytest.raises((RuntimeError, ValueError), match=reason):
        describe(launch("tracker"), **given)


@pytest.mark.parametrize(
    ("name", "package", "given"),
    [
        ("tracker", "rviz2", {"rviz": "true"}),
        ("tracker", "uniref_ros", {}),
        ("tracker", "uniref_ros", {"voice": "true"}),
        ("tracker", "uniref_ros", {"console": "true"}),
        ("demo", "uniref_ros", {}),
    ],
)
def test_a_package_without_its_executables_starts_nothing(
    name, package, given, launch, monkeypatch, tmp_path
):
    module = launch(name)
    package_without_executables(package, monkeypatch, tmp_path)
    with pytest.raises(RuntimeError, match=f"package {package} has no executable .*nothing was started"):
        describe(module, **given)


def test_other_topics_are_remapped_images_with_their_compressed_forms(launch):
    given = {
        "image": "/camera/color/image_raw",
        "camera_info": "/camera/color/camera_info",
        "depth": "/camera/depth",
    }
    assert tracker(describe(launch("tracker"), **given)[1]).remappings == [
        *given.items(),
        ("image/compressed", "/camera/color/image_raw/compressed"),
        ("depth/compressedDepth", "/camera/depth/compressedDepth"),
    ]


def test_the_topics_of_the_only_camera_are_remapped_though_it_has_a_name(launch):
    assert tracker(describe(launch("tracker"), cameras="arm", image="/arm/rgb")[1]).remappings == [
        ("arm/image", "/arm/rgb"),
        ("arm/image/compressed", "/arm/rgb/compressed"),
    ]


def test_the_demos_rate_is_a_number(launch):
    with pytest.raises(ValueError, match="rate is 'fast', expected a number from 0 to 1000"):
        describe(launch("demo"), rate="fast")


def test_voice_and_rviz_start_when_they_are_asked_for(launch, with_rviz):
    assert set(nodes(describe(launch("tracker"))[1])) == {"tracker_node"}
    _, actions = describe(
        launch("tracker"), voice="true", rviz="true", voice_trigger="push_to_talk", namespace="robot"
    )
    found = nodes(actions)
    assert set(found) == {"tracker_node", "voice_command", "rviz2"}
    assert found["voice_command"].parameters == [{"trigger": "push_to_talk"}]
    assert {node.namespace for node in found.values()} == {"robot"}


def test_the_console_comes_with_what_suits_it_elsewhere(launch):
    given = {"console": "true", "console_host": "0.0.0.0", "console_port": "80", "console_token": "x" * 16}
    found = nodes(describe(launch("tracker"), voice="true", **given)[1])
    assert found["console"].parameters == [{"host": "0.0.0.0", "port": 80, "token": "x" * 16}]
    assert found["tracker_node"].parameters == [{"held_images": 60, "overlay_rate": 15.0}, {}]
    assert found["voice_command"].parameters == [{"source": "topic", "trigger": "push_to_talk"}, {}]
    file = str(ROOT / "config" / "tracker.yaml")
    found = nodes(describe(launch("tracker"), console="true", params_file=file, voice="true")[1])
    assert found["tracker_node"].parameters == [
        {"held_images": 60, "overlay_rate": 15.0},
        file,
        {},
    ], "the file counts for more"
    assert found["console"].parameters == [file, {}]
    group = [("held_images", 20), ("overlay_rate", 5.0), ("trigger", "always")]
    found = nodes(describe(launch("tracker"), console="true", voice="true", set_by_group=group)[1])
    assert found["tracker_node"].parameters == [{}]
    assert found["voice_command"].parameters == [{"source": "topic"}, {}]


def test_the_rviz_view_follows_namespace_cameras_and_frame(launch, with_rviz):
    def topics(**given: str) -> tuple[list[str], str]:
        node = nodes(describe(launch("tracker"), rviz="true", **given)[1])["rviz2"]
        path = Path(node.arguments[1])
        manager = yaml.safe_load(path.read_text())["Visualization Manager"]
        path.unlink()
        shown = [display["Topic"]["Value"] for display in manager["Displays"] if "Topic" in display]
        return shown, manager["Global Options"]["Fixed Frame"]

    ends = ["overlay", "label_image", "markers", "points"]
    assert topics() == ([f"/tracker/{end}" for end in ends], "camera")
    shown, frame = topics(namespace="/robot/", cameras="left,right", frame="base_link")
    wanted = [f"/robot/tracker/{camera}/{end}" for end in ends for camera in ("left", "right")]
    assert shown == wanted and frame == "base_link"
    assert topics(pushed="/arm", namespace="robot")[0][0] == "/arm/robot/tracker/overlay"
    assert topics(pushed="/arm")[0][0] == "/arm/tracker/overlay"
    assert topics(pushed="/arm", namespace="/robot")[0][0] == "/robot/tracker/overlay"


def test_launching_again_leaves_no_second_view(launch, with_rviz, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for namespace in ("", "robot", "", "robot"):
        nodes(describe(launch("tracker"), rviz="true", namespace=namespace)[1])
    assert len(list(tmp_path.rglob("*uniref_ros_*"))) == 2


def test_a_view_that_cannot_be_written_is_said_and_leaves_nothing(launch, with_rviz, tmp_path):
    name = nodes(describe(launch("tracker"), rviz="true")[1])["rviz2"].arguments[1]
    os.remove(name)
    os.mkdir(name)  # somebody else's, say
    with pytest.raises(SourceError, match="cannot write"):
        describe(launch("tracker"), rviz="true")
    assert [str(path) for path in tmp_path.rglob("*uniref_ros_*")] == [name]


def test_respawn_brings_back_a_node_that_hangs(launch):
    node = tracker(describe(launch("tracker"), respawn="true", respawn_delay="2.5")[1])
    assert node.respawn is True and node.respawn_delay == 2.5 and node.parameters == [{"on_hang": "exit"}]


def test_the_arguments_choices_are_those_of_the_parameters(launch):
    declared, _ = describe(launch("tracker"))
    options = {option.name: option for option in (*OPTIONS, *voice_command.OPTIONS)}
    names = {"reliability": "image_reliability", "voice_trigger": "trigger"}
    checked = 0
    for argument, entry in declared.items():
        option = options.get(names.get(argument, argument))
        if option is not None and option.choices:
            assert set(entry.choices) == {"", *option.choices}, argument
            checked += 1
    assert checked == 4


def test_large_images_are_provided_for_in_our_nodes_alone(launch, monkeypatch, with_rviz):
    monkeypatch.delenv(PROFILE, raising=False)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    before = dict(os.environ)
    found = nodes(describe(launch("tracker"), voice="true", rviz="true")[1])
    values = found["tracker_node"].additional_env
    assert Path(values[PROFILE]).is_file() and values["MALLOC_MMAP_THRESHOLD_"] == "268435456"
    assert found["voice_command"].additional_env == values and found["rviz2"].additional_env is None
    assert nodes(describe(launch("demo"))[1])["video_player"].additional_env == values
    assert dict(os.environ) == before
    assert tracker(describe(launch("tracker"), shared_memory="false")[1]).additional_env == {}
    monkeypatch.setenv(PROFILE, "/mine.xml")
    assert tracker(describe(launch("tracker"))[1]).additional_env == {}


def test_the_demo_passes_only_arguments_the_tracker_has(launch):
    declared, _ = describe(launch("tracker"))
    _, actions = describe(launch("demo"), prompt="the black bottle", rviz="false", log_level="debug")
    (include,) = (action for action in actions if isinstance(action, IncludeLaunchDescription))
    passed = launch("demo").PASSED
    assert include.arguments == {**passed, "prompts": "the black bottle", "log_level": "debug"}
    assert all(declared[name].default == default for name, default in passed.items())
    assert Path(include.source.path).is_file()
    player = nodes(actions)["video_player"]
    assert Path(player.parameters[0]["source"]).is_file()
    with pytest.raises(RuntimeError, match="no file"):
        describe(launch("demo"), video="/nowhere.mp4")


def test_the_executables_the_launch_files_name_are_installed(launch):
    prefix = Path(packages.get_package_prefix("uniref_ros"))
    for name in ("tracker", "demo"):
        for node in nodes(describe(launch(name))[1]).values():
            assert (prefix / "lib" / "uniref_ros" / node.executable).is_file()
    for example in ("follow_object.py", "pick_centroid.py"):
        assert (prefix / "lib" / "uniref_ros" / example).is_file()
