"""Starts the tracker node: `ros2 launch uniref_ros tracker.launch.py cameras:=front,left model:=uniref_nano`.

`ros2 launch uniref_ros tracker.launch.py --show-args` lists the arguments. What is not an argument is a
parameter: name a file of them with `params_file` (copy config/tracker.yaml, and leave in the copy what you
change), or set them for a group with `SetParameter`. What is given as an argument goes before both.

The nodes are Python and therefore processes, not components: a container cannot load them. What composition
is for, images that are not copied through sockets, `shared_memory` gives them.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from uniref_ros import launching

SHARE = get_package_share_directory("uniref_ros")

# Name: (default, description) and, where not every value will do, the choices. Switches take true and false
# in any spelling; empty means: as params_file or a group's SetParameter says, else the node's own default.
ARGUMENTS = {
    "params_file": ("", "A file of parameters of the nodes, such as a copy of config/tracker.yaml."),
    "namespace": ("", "Namespace of the nodes and of their topics."),
    "cameras": ("", "Camera names, separated by commas; empty: one camera on the topic image."),
    "image": ("image", "Topic to take for image when there is one camera."),
    "camera_info": ("camera_info", "Likewise for camera_info; needed for positions."),
    "depth": ("depth", "Likewise for depth, aligned to the image; needed for positions."),
    "image_transport": ("", "Which form of image to take.", ["", "raw", "compressed"]),
    "depth_transport": ("", "Which form of depth to take.", ["", "raw", "compressedDepth"]),
    "reliability": ("", "Quality of service of the image subscription.", ["", "best_effort", "reliable"]),
    "model": ("", "A shipped model's name or the folder of an exported model."),
    "size": ("", "Model size HEIGHTxWIDTH, such as 192x320."),
    "runtime": ("", "What runs the network.", ["", "auto", "onnxruntime", "openvino", "tensorrt", "torch"]),
    "prompts": ("", "Objects to look for from the start, separated by semicolons."),
    "publish_tf": ("", "true: also publish a frame for every object's centroid."),
    "autostart": ("", "false: a lifecycle manager configures and activates the node."),
    "respawn": ("false", "Start the tracker again when it ends by itself; it then also ends when it hangs."),
    "respawn_delay": ("1.0", "Seconds before that."),
    "use_sim_time": ("", "true: take the time from /clock."),
    "voice": ("false", "Also start voice_command: speech becomes prompts."),
    "voice_source": ("", "Where speech comes from: microphone, topic, or a WAV file."),
    "voice_trigger": (
        "",
        "What is meant for the robot: what follows the wake word, what is said while ~/talk is true, or all.",
        ["", "wake_word", "push_to_talk", "always"],
    ),
    "wake_word": ("", "The words that call the robot, such as hey robot."),
    "voice_engine": ("", "Recogniser: pocketsphinx, whisper, vosk, or module:factory."),
    "voice_model": ("", "The recogniser's model: a folder or a name, such as base.en for whisper."),
    "console": (
        "false",
        "Also start console: a page to see, click, type and talk in any browser. The tracker then holds 60 "
        "images for clicks over slow links, and draws 15 overlays a second; with voice:=true, speech comes "
        "from the page, hold to talk.",
    ),
    "console_host": ("", "Address the page is served at; one that others can reach needs console_token."),
    "console_port": ("", "Port it is served at."),
    "console_token": ("", "What a browser must give, of 16 characters or more."),
    "rviz": ("false", "Also start RViz with a view of every camera (config/tracker.rviz)."),
    "frame": ("", "RViz's fixed frame: a TF frame, or without TF the images' frame_id; empty: camera."),
    "shared_memory": (
        "true",
        "Set Fast DDS and malloc up for large images in our nodes, unless a Fast DDS profile is set already.",
    ),
    "log_level": ("info", "Least severity of the nodes' log messages."),
}


def _setup(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    with_rviz, with_voice, with_console, respawn = (
        launching.switch(name, given[name]) for name in ("rviz", "voice", "console", "respawn")
    )
    # Whatever is missing is said before the first node is started.
    beside = [name for name, on in (("voice_command", with_voice), ("console", with_console)) if on]
    launching.require_executables("uniref_ros", "tracker_node", *beside)
    if with_rviz:
        launching.require_executables("rviz2", "rviz2")
    files = [given["params_file"]] if launching.require_file("params_file", given["params_file"]) else []
    suited = _suited_to_console(context) if with_console else {}
    cameras = launching.split(given["cameras"], ",")
    remappings = _remappings(given, cameras)
    if given["namespace"].strip("/"):
        launching.topic("namespace", given["namespace"].rstrip("/"))
    shared = launching.switch("shared_memory", given["shared_memory"])
    common = {
        "package": "uniref_ros",
        "namespace": given["namespace"],
        "arguments": ["--ros-args", "--log-level", given["log_level"]],
        "output": "screen",
        "additional_env": launching.large_images(SHARE, os.environ) if shared else {},
    }
    nodes = [
        Node(
            executable="tracker_node",
            name="tracker",
            parameters=[*suited.get("tracker", []), *files, _overrides(given, cameras, respawn)],
            remappings=remappings,
            respawn=respawn,
            respawn_delay=launching.number("respawn_delay", given["respawn_delay"], 0, 3600),
            **common,
        )
    ]
    if with_voice:
        nodes.append(
            Node(
                executable="voice_command",
                name="voice_command",
                parameters=[*suited.get("voice_command", []), *files, _voice_overrides(given)],
                **common,
            )
        )
    if with_console:
        nodes.append(
            Node(
                executable="console",
                name="console",
                parameters=[*files, _console_overrides(given)],
                **common,
            )
        )
    if with_rviz:
        template = os.path.join(SHARE, "config", "tracker.rviz")
        pushed = LaunchConfiguration("ros_namespace", default="").perform(context)  # by PushRosNamespace
        namespace = launching.joined_namespace(pushed, given["namespace"])
        view = launching.write_rviz_view(template, namespace, cameras, given["frame"])
        nodes.append(
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz2",
                namespace=given["namespace"],
                arguments=["-d", view],
                parameters=[_time(given)],
            )
        )
    return nodes


def _overrides(given, cameras, respawn):
    """The tracker's parameters that were given as arguments."""
    names = {name: name for name in ("image_transport", "depth_transport", "model", "runtime", "size")}
    names["reliability"] = "image_reliability"
    overrides = {parameter: given[name] for name, parameter in names.items() if given[name]}
    for name in ("publish_tf", "autostart"):
        if given[name]:
            overrides[name] = launching.switch(name, given[name])
    if cameras:
        overrides["cameras"] = cameras
    prompts = launching.split(given["prompts"], ";")
    if prompts:
        overrides["prompts"] = prompts
    if respawn:
        overrides["on_hang"] = "exit"
    return overrides | _time(given)


def _voice_overrides(given):
    names = {
        "source": "voice_source",
        "trigger": "voice_trigger",
        "wake_word": "wake_word",
        "engine": "voice_engine",
        "engine_model": "voice_model",
    }
    return {parameter: given[name] for parameter, name in names.items() if given[name]} | _time(given)


def _console_overrides(given):
    overrides = {name: given[f"console_{name}"] for name in ("host", "token") if given[f"console_{name}"]}
    if given["console_port"]:
        overrides["port"] = int(launching.number("console_port", given["console_port"], 0, 65535))
    return overrides | _time(given)


def _suited_to_console(context):
    """Defaults of the other nodes that suit a console: before files, never over a group's SetParameter."""
    group = context.launch_configurations.get("global_params", [])  # pairs, and names of files
    set_by_group = {item[0] for item in group if isinstance(item, tuple)}
    suited = {
        node: {name: value for name, value in values.items() if name not in set_by_group}
        for node, values in launching.SUITED_TO_CONSOLE.items()
    }
    return {node: [values] for node, values in suited.items() if values}


def _time(given):
    name = "use_sim_time"
    return {name: launching.switch(name, given[name])} if given[name] else {}


def _remappings(given, cameras):
    """Of the only camera; the transports' topics follow, as in image_transport."""
    topics = {name: given[name] for name in ("image", "camera_info", "depth") if given[name] != name}
    if topics and len(cameras) > 1:
        raise RuntimeError(
            f"{', '.join(topics)} can be given for one camera, and cameras names {len(cameras)}: remap "
            f"{cameras[0]}/{next(iter(topics))} and the like instead; nothing was started"
        )
    prefix = f"{cameras[0]}/" if cameras else ""
    changed = [(f"{prefix}{name}", launching.topic(name, topic)) for name, topic in topics.items()]
    for name, form in (("image", "compressed"), ("depth", "compressedDepth")):
        if name in topics:
            changed.append((f"{prefix}{name}/{form}", f"{topics[name]}/{form}"))
    return changed


def _declaration(name, default, description, choices=None):
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


def generate_launch_description():
    """The launch description, as `ros2 launch` asks for it."""
    arguments = [_declaration(name, *rest) for name, rest in ARGUMENTS.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=_setup)])
