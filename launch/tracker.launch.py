"""Starts the tracker node: `ros2 launch uniref_ros tracker.launch.py cameras:=front,left model:=uniref_nano`.

`ros2 launch uniref_ros tracker.launch.py --show-args` lists the arguments. What is not an argument is a
parameter: copy config/tracker.yaml and name the copy with `params_file`.

The nodes are Python and therefore processes, not components: a container cannot load them. What composition
is for, images that are not copied through sockets, `shared_memory` gives them.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = get_package_share_directory("uniref_ros")

# Name: (default, description) and, where not every value will do, the choices.
SWITCH = ["true", "false"]
ARGUMENTS = {
    "params_file": (
        os.path.join(SHARE, "config", "tracker.yaml"),
        "Parameters of the nodes; what is given as an argument goes before it.",
    ),
    "namespace": ("", "Namespace of the nodes and of their topics."),
    "cameras": ("", "Camera names, separated by commas; empty: one camera on the topic image."),
    "image": ("image", "Topic to take for image when there is one camera without a name."),
    "camera_info": ("camera_info", "Likewise for camera_info; needed for positions."),
    "depth": ("depth", "Likewise for depth, aligned to the image; needed for positions."),
    "image_transport": (
        "",
        "Which form of image to take; empty: as in params_file.",
        ["", "raw", "compressed"],
    ),
    "depth_transport": (
        "",
        "Which form of depth to take; empty: as in params_file.",
        ["", "raw", "compressedDepth"],
    ),
    "reliability": (
        "",
        "Quality of service of the image subscription; empty: as in params_file.",
        ["", "best_effort", "reliable"],
    ),
    "model": ("", "A shipped model's name or the folder of an exported model; empty: as in params_file."),
    "size": ("", "Model size HEIGHTxWIDTH, such as 192x320; empty: as in params_file."),
    "runtime": (
        "",
        "What runs the network; empty: as in params_file.",
        ["", "auto", "onnxruntime", "tensorrt", "torch"],
    ),
    "prompts": ("", "Objects to look for from the start, separated by semicolons."),
    "autostart": (
        "",
        "Configure and activate by itself, or leave it to a lifecycle manager; empty: as in params_file.",
        ["", *SWITCH],
    ),
    "use_sim_time": ("false", "Take the time from /clock.", SWITCH),
    "voice": ("false", "Also start voice_command: speech becomes prompts.", SWITCH),
    "voice_source": (
        "",
        "Where speech comes from: microphone, topic, or a WAV file; empty: as in params_file.",
    ),
    "voice_trigger": (
        "",
        "What is meant for the robot: what follows the wake word, what is said while ~/talk is true, or all; "
        "empty: as in params_file.",
        ["", "wake_word", "push_to_talk", "always"],
    ),
    "wake_word": ("", "The words that call the robot, such as hey robot; empty: as in params_file."),
    "rviz": ("false", "Also start RViz with config/tracker.rviz.", SWITCH),
    "shared_memory": (
        "true",
        "Set Fast DDS and malloc up for large images, unless a Fast DDS profile is set already.",
        SWITCH,
    ),
    "log_level": ("info", "Least severity of the nodes' log messages."),
}


def _setup(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    common = {
        "package": "uniref_ros",
        "namespace": given["namespace"],
        "arguments": ["--ros-args", "--log-level", given["log_level"]],
        "output": "screen",
    }
    return [
        *(_large_images() if given["shared_memory"] == "true" else []),
        Node(
            executable="tracker_node",
            name="tracker",
            parameters=[given["params_file"], _overrides(given)],
            remappings=_remappings(given),
            **common,
        ),
        Node(
            executable="voice_command",
            name="voice_command",
            parameters=[given["params_file"], _voice_overrides(given)],
            condition=IfCondition(given["voice"]),
            **common,
        ),
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            namespace=given["namespace"],
            arguments=["-d", os.path.join(SHARE, "config", "tracker.rviz")],
            parameters=[{"use_sim_time": given["use_sim_time"] == "true"}],
            condition=IfCondition(given["rviz"]),
        ),
    ]


def _overrides(given):
    """The tracker's parameters that were given as arguments."""
    names = {name: name for name in ("image_transport", "depth_transport", "model", "runtime", "size")}
    names["reliability"] = "image_reliability"
    overrides = {parameter: given[name] for name, parameter in names.items() if given[name]}
    cameras = [name.strip() for name in given["cameras"].split(",") if name.strip()]
    if cameras:
        overrides["cameras"] = cameras
    prompts = [words.strip() for words in given["prompts"].split(";") if words.strip()]
    if prompts:
        overrides["prompts"] = prompts
    if given["autostart"]:
        overrides["autostart"] = given["autostart"] == "true"
    overrides["use_sim_time"] = given["use_sim_time"] == "true"
    return overrides


def _voice_overrides(given):
    names = {"source": "voice_source", "trigger": "voice_trigger", "wake_word": "wake_word"}
    overrides = {parameter: given[name] for parameter, name in names.items() if given[name]}
    return {**overrides, "use_sim_time": given["use_sim_time"] == "true"}


def _remappings(given):
    names = ("image", "camera_info", "depth")
    changed = [(name, given[name]) for name in names if given[name] != name]
    for name, form in (("image", "compressed"), ("depth", "compressedDepth")):
        if given[name] != name:
            changed.append((f"{name}/{form}", f"{given[name]}/{form}"))
    return changed


def _large_images():
    """Fast DDS's default segment holds no whole image, and malloc maps each one anew: see
    ros_env/README.md."""
    old = os.environ.get("ROS_DISTRO", "") in ("humble", "iron", "jazzy")
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
    if variable in os.environ:
        return []
    values = {
        variable: os.path.join(SHARE, "config", "fastdds_shm.xml"),
        "MALLOC_MMAP_THRESHOLD_": "268435456",
        "MALLOC_TRIM_THRESHOLD_": "1073741824",
        "MALLOC_TOP_PAD_": "67108864",
        "MALLOC_ARENA_MAX": "2",
    }
    return [SetEnvironmentVariable(name, value) for name, value in values.items()]


def _declaration(name, default, description, choices=None):
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def generate_launch_description():
    """The launch description, as `ros2 launch` asks for it."""
    arguments = [_declaration(name, *rest) for name, rest in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=_setup)])
