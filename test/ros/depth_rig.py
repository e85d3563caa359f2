"""A depth camera for the ROS tests: a rendered red box, its truth, and a peer that publishes it."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from compressed_depth_writer import pack
from depth_scenes import CX, CY, FX, FY, Block, sensed, view
from fake_runtime import COLOURS, GREY
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_help import Peer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String

from uniref_ros.conversion import fill_image
from uniref_ros.msg import TrackedObject

SIZE = (240, 320)
BOX = Block((0.1, 0.05, 1.0), (0.3, 0.24, 0.05))
SCENE = view([BOX], SIZE)
TRUTH, EXTENT = SCENE.truth(0)
PICTURE = np.where((SCENE.owner == 0)[..., None], COLOURS["red"], GREY).astype(np.uint8)
EMPTY = np.full((*SIZE, 3), GREY, np.uint8)
PERIOD = 0.1  # s between stamps


def info(size=SIZE, **fields) -> CameraInfo:
    """The rendering camera's, for its picture at this size (h, w)."""
    s = size[1] / 640
    k = [FX * s, 0.0, (CX + 0.5) * s - 0.5, 0.0, FY * s, (CY + 0.5) * s - 0.5, 0.0, 0.0, 1.0]
    return CameraInfo(
        **{"width": size[1], "height": size[0], "k": k, "distortion_model": "plumb_bob", **fields}
    )


def depth_image(kind: str) -> Image:
    """The scene as a sensor of this kind gives it."""
    size = (120, 160) if "half" in kind else (480, 640) if "double" in kind else SIZE
    metres = sensed(view([BOX], size).depth)
    if "32FC1" in kind:
        metres[(metres == 0) & (np.arange(size[1]) % 3 == 0)] = np.nan
        metres[(metres == 0) & (np.arange(size[1]) % 3 == 1)] = np.inf
        pixels = metres.astype("<f4")
    else:
        pixels = np.round(metres * 1000).astype("<u2")
    encoding = "32FC1" if "32FC1" in kind else "16UC1"
    message = Image(height=size[0], width=size[1], encoding=encoding, step=pixels.strides[0])
    if "big-endian" in kind:
        padded = np.zeros((size[0], pixels.strides[0] + 24), np.uint8)
        padded[:, : pixels.strides[0]] = pixels.byteswap().view(np.uint8)
        message.is_bigendian, message.step, pixels = 1, padded.shape[1], padded
    message.data = pixels.tobytes()
    return message


def compressed(depth: Image) -> CompressedImage:
    """A depth image (not of rescaled rows) as compressed_depth_image_transport sends it."""
    samples = np.frombuffer(depth.data, "<u2" if depth.encoding == "16UC1" else "<f4")
    format = f"{depth.encoding}; compressedDepth png"
    return CompressedImage(format=format, data=pack(samples.reshape(depth.height, depth.width)))


class Rig(Peer):
    """A peer with a depth camera beside its camera."""

    def __init__(self, *, latched_info: bool = False, compressed_depth: bool = False, **options) -> None:
        super().__init__(**options)
        if compressed_depth:
            self.depths = self.create_publisher(CompressedImage, "depth/compressedDepth", 5)
        else:
            self.depths = self.create_publisher(Image, "depth", 5)
        kept = DurabilityPolicy.TRANSIENT_LOCAL if latched_info else DurabilityPolicy.VOLATILE
        self.infos = self.create_publisher(CameraInfo, "camera_info", QoSProfile(depth=5, durability=kept))
        self.frame_id = "camera_optical"
        self._time = 5000.0

    def meet_rig(self) -> None:
        self.meet()
        self.until(
            lambda: self.depths.get_subscription_count() and self.infos.get_subscription_count(),
            "the node's subscriptions to depth and camera_info",
        )
        self.prompts.publish(String(data="red"))

    def header(self) -> Header:
        self._time += PERIOD
        stamp = Time(sec=int(self._time), nanosec=int(self._time % 1 * 1e9))
        return Header(stamp=stamp, frame_id=self.frame_id)

    def see(
        self, depth: Image | CompressedImage | None, camera: CameraInfo | None, picture=PICTURE, later=0.0
    ):
        """Publish depth, info and image of one moment; wait for the result. later: s, of the depth."""
        header = self.header()
        if camera is not None:
            camera.header = header
            self.infos.publish(camera)
        if depth is not None:
            moment = header.stamp.sec + header.stamp.nanosec * 1e-9 + later
            stamp = Time(sec=int(moment), nanosec=int(moment % 1 * 1e9))
            depth.header = Header(stamp=stamp, frame_id="camera_optical")
            self.depths.publish(depth)
            self.spin(0.1)
        image = self.image_of(picture, header)
        self.images.publish(image)
        return self.result_of(image)

    def image_of(self, picture, header: Header) -> Image | CompressedImage:
        return fill_image(Image(), picture, "rgb8", header)

    def placed(
        self, depth: Image | CompressedImage | None, camera: CameraInfo | None, **options
    ) -> TrackedObject:
        """See until the object has a position."""
        for _ in range(20):
            result = self.see(depth, camera, **options)
            if result.objects and result.objects[0].has_position:
                return result.objects[0]
        raise AssertionError(f"no position; {self.status('image')}")

    def put(self, name: str, value) -> None:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = self.call(SetParameters, "tracker/set_parameters", request).results[0]
        assert result.successful, result.reason
