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

SHARE = get_package_share_directory("uniref_ros")

ARGUMENTS = {
    "video": (os.path.join(SHARE, "media", "box.mp4"), "A video file, or the number of a camera device."),
    "prompt": ("the yellow box", "What to look for, in words."),
    "loop": ("true", "Begin the video again at its end."),
    "rate": ("0.0", "Frames a second; 0.0: the video's own."),
    "namespace": ("", "Namespace of both nodes."),
    "model": ("", "As for tracker.launch.py."),
    "size": ("", "As for tracker.launch.py."),
    "runtime": ("", "As for tracker.launch.py."),
    "rviz": ("false", "Also start RViz."),
}


def _setup(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    passed = {name: given[name] for name in ("namespace", "model", "size", "runtime", "rviz")}
    tracker = PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "tracker.launch.py"))
    return [
        # First, because it also sets the environment that publishers of images need.
        IncludeLaunchDescription(tracker, launch_arguments={**passed, "prompts": given["prompt"]}.items()),
        Node(
            package="uniref_ros",
            executable="video_player",
            name="video_player",
            namespace=given["namespace"],
            parameters=[
                {
                    "source": given["video"],
                    "loop": given["loop"].lower() in ("true", "1"),
                    "rate": float(given["rate"]),
                    "wait_for_subscribers": 1,
                }
            ],
            output="screen",
        ),
    ]


def generate_launch_description():
    """The launch description, as `ros2 launch` asks for it."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_setup)])
