"""Plays a video and tracks what a prompt names in it.

`ros2 launch uniref_ros demo.launch.py prompt:="the yellow box"`

Look at the result with `ros2 run rqt_image_view rqt_image_view /tracker/overlay`, or with rviz:=true.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from uniref_ros import launching

SHARE = get_package_share_directory("uniref_ros")
# Passed on to tracker.launch.py, with its defaults: an included file finds the includer's arguments set.
PASSED = {
    "namespace": "",
    "params_file": "",
    "model": "",
    "size": "",
    "runtime": "",
    "voice": "false",
    "voice_source": "",
    "voice_trigger": "",
    "wake_word": "",
    "voice_engine": "",
    "voice_model": "",
    "console": "false",
    "console_host": "",
    "console_port": "",
    "console_token": "",
    "rviz": "false",
    "frame": "",
    "respawn": "false",
    "shared_memory": "true",
    "log_level": "info",
}

ARGUMENTS = {
    "video": (os.path.join(SHARE, "media", "box.mp4"), "A video file, or the number of a camera device."),
    "prompt": ("the yellow box", "What to look for, in words; empty: nothing from the start."),
    "loop": ("true", "Begin the video again at its end."),
    "rate": ("0.0", "Frames a second; 0.0: the video's own."),
    **{name: (default, "As for tracker.launch.py.") for name, default in PASSED.items()},
}


def _setup(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    launching.require_executables("uniref_ros", "video_player")  # before the tracker is started
    video = given["video"] if given["video"].isdigit() else launching.require_file("video", given["video"])
    shared = launching.switch("shared_memory", given["shared_memory"])
    rate = launching.number("rate", given["rate"], 0, 1000)
    passed = {name: given[name] for name in PASSED}
    tracker = PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "tracker.launch.py"))
    return [
        IncludeLaunchDescription(tracker, launch_arguments={**passed, "prompts": given["prompt"]}.items()),
        Node(
            package="uniref_ros",
            executable="video_player",
            name="video_player",
            namespace=given["namespace"],
            parameters=[
                {
                    "source": video,
                    "loop": launching.switch("loop", given["loop"]),
                    "rate": rate,
                    "wait_for_subscribers": 1,
                }
            ],
            output="screen",
            additional_env=launching.large_images(SHARE, os.environ) if shared else {},
        ),
    ]


def _declaration(name, default, description, choices=None):
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def generate_launch_description():
    """The launch description, as `ros2 launch` asks for it."""
    arguments = [_declaration(name, *rest) for name, rest in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=_setup)])
