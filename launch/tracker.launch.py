"""Starts the tracker node: `ros2 launch uniref_ros tracker.launch.py cameras:=front,left model:=uniref_nano`.

`ros2 launch uniref_ros tracker.launch.py --show-args` lists the arguments. What is not an argument is a
parameter: copy config/tracker.yaml and name the copy with `params_file`.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

SHARE = get_package_share_directory("uniref_ros")

ARGUMENTS = {
    "params_file": (
        os.path.join(SHARE, "config", "tracker.yaml"),
        "Parameters of the node; arguments go before it.",
    ),
    "namespace": ("", "Namespace of the node and of its topics."),
    "cameras": ("", "Camera names, separated by commas; empty: one camera on the topic image."),
    "image": ("image", "Topic to take for `image` when there is one camera without a name."),
    "image_transport": ("", "raw or compressed; empty: as in params_file."),
    "model": ("", "A shipped model's name or the folder of an exported model; empty: as in params_file."),
    "size": ("", "Model size HEIGHTxWIDTH, such as 192x320; empty: as in params_file."),
    "runtime": ("", "auto, onnxruntime, tensorrt or torch; empty: as in params_file."),
    "prompts": ("", "Objects to look for from the start, separated by semicolons."),
    "use_sim_time": ("false", "Take the time from /clock."),
    "rviz": ("false", "Also start RViz."),
    "shared_memory": (
        "true",
        "Set Fast DDS and malloc up for large images, unless a Fast DDS profile is set already.",
    ),
    "log_level": ("info", "Least severity of the node's log messages."),
}


def _setup(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {name: given[name] for name in ("image_transport", "model", "runtime", "size") if given[name]}
    cameras = [name.strip() for name in given["cameras"].split(",") if name.strip()]
    if cameras:
        overrides["cameras"] = cameras
    prompts = [words.strip() for words in given["prompts"].split(";") if words.strip()]
    if prompts:
        overrides["prompts"] = prompts
    overrides["use_sim_time"] = given["use_sim_time"].lower() in ("true", "1")
    image = given["image"]
    return [
        *(_large_images() if given["shared_memory"].lower() in ("true", "1") else []),
        Node(
            package="uniref_ros",
            executable="tracker_node",
            name="tracker",
            namespace=given["namespace"],
            parameters=[given["params_file"], overrides],
            remappings=[("image", image), ("image/compressed", f"{image}/compressed")]
            if image != "image"
            else [],
            arguments=["--ros-args", "--log-level", given["log_level"]],
            output="screen",
        ),
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            namespace=given["namespace"],
            arguments=["-d", os.path.join(SHARE, "config", "tracker.rviz")],
            condition=IfCondition(LaunchConfiguration("rviz")),
        ),
    ]


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


def generate_launch_description():
    """The launch description, as `ros2 launch` asks for it."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_setup)])
