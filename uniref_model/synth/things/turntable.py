"""Render the furniture models from all round, with alpha: OBJ out of the catalogue's zip, drawn by OpenGL
without a screen.

Only used when the sprite pack is built; needs the optional package moderngl and an EGL driver (a software one
will do).
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..archives import decode_picture, read_member

STEPS = 12
_RESOLUTION = 320
_MAX_BYTES = 2_600_000

_VERTEX = """
#version 330
uniform mat4 mvp; uniform mat3 turn;
in vec3 position; in vec3 normal; in vec2 uv;
out vec3 n; out vec2 t;
void main() { gl_Position = mvp * vec4(position, 1.0); n = turn * normal; t = uv; }
"""
_FRAGMENT = """
#version 330
uniform vec3 colour; uniform vec3 light; uniform float ambient; uniform float shine; uniform bool textured;
uniform sampler2D picture;
in vec3 n; in vec2 t; out vec4 result;
void main() {
    vec4 base = textured ? texture(picture, t) : vec4(colour, 1.0);
    if (base.a < 0.3) discard;
    vec3 m = normalize(n);
    if (!gl_FrontFacing) m = -m;
    float d = max(dot(m, light), 0.0);
    float s = pow(max(reflect(-light, m).z, 0.0), 20.0) * shine;
    result = vec4(base.rgb * (ambient + (1.05 - ambient) * d) + s, 1.0);
}
"""


@dataclass
class Material:
    """Diffuse colour RGB 0..1, opacity, and the name of a texture in the zip."""

    colour: tuple[float, float, float] = (0.7, 0.7, 0.7)
    opacity: float = 1.0
    texture: str | None = None


@dataclass
class Model:
    """parts: material and float32 [n,8] (position, normal, uv), three rows a triangle."""

    title: str
    creator: str
    parts: list[tuple[Material, np.ndarray]]


@dataclass
class _Mesh:
    points: list = field(default_factory=list)
    normals: list = field(default_factory=list)
    uvs: list = field(default_factory=list)
    faces: dict = field(default_factory=dict)


def catalogue(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    """Entries of PluginFurnitureCatalog.properties: name, model, width, depth, height, creator, ..."""
    entries: dict[int, dict[str, str]] = {}
    for line in read_member(archive, "PluginFurnitureCatalog.properties").decode("latin1").splitlines():
        match = re.match(r"(\w+)#(\d+)=(.*)", line.strip())
        if match:
            entries.setdefault(int(match[2]), {})[match[1]] = match[3]
    return [entries[key] for key in sorted(entries)]


def _read_materials(archive: zipfile.ZipFile, path: str) -> dict[str, Material]:
    found: dict[str, Material] = {}
    current = Material()
    for line in read_member(archive, path).decode("latin1").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "newmtl":
            current = found.setdefault(" ".join(words[1:]), Material())
        elif words[0] == "Kd":
            current.colour = tuple(float(w) for w in words[1:4])
        elif words[0] == "d":
            current.opacity = float(words[-1])
        elif words[0] == "Tr":
            current.opacity = 1 - float(words[-1])
        elif words[0] == "map_Kd":
            current.texture = posixpath.normpath(posixpath.join(posixpath.dirname(path), words[-1]))
    return found


def _parse(archive: zipfile.ZipFile, path: str) -> tuple[_Mesh, dict[str, Material]]:
    mesh, materials, name = _Mesh(), {}, ""
    for line in read_member(archive, path).decode("latin1").splitlines():
        head, _, rest = line.partition(" ")
        if head == "v":
            mesh.points.append(rest.split()[:3])
        elif head == "vn":
            mesh.normals.append(rest.split()[:3])
        elif head == "vt":
            mesh.uvs.append(rest.split()[:2])
        elif head == "f":
            corners = [[*c.split("/"), "", ""][:3] for c in rest.split()]
            triangles = mesh.faces.setdefault(name, [])
            for i in range(1, len(corners) - 1):
                triangles += [corners[0], corners[i], corners[i + 1]]
        elif head == "usemtl":
            name = rest.strip()
        elif head == "mtllib":
            library = posixpath.join(posixpath.dirname(path), rest.strip())
            if library in archive.namelist():
                materials = _read_materials(archive, library)
    return mesh, materials


def load_model(archive: zipfile.ZipFile, entry: dict[str, str]) -> Model:
    """Read a catalogue entry's OBJ, turned and scaled as the catalogue says, centred, longest diagonal 1.
    Raises ValueError."""
    path = entry["model"].lstrip("/")
    mesh, materials = _parse(archive, path)
    if not mesh.points or not mesh.faces:
        raise ValueError(f"{path} has no faces")
    points = np.array(mesh.points, np.float32)
    normals = np.array(mesh.normals, np.float32).reshape(-1, 3)
    if "modelRotation" in entry:
        rotation = np.array(entry["modelRotation"].split(), np.float32).reshape(3, 3)
        points, normals = points @ rotation.T, normals @ rotation.T
    low, high = points.min(0), points.max(0)
    want = np.array([float(entry[k]) for k in ("width", "height", "depth")], np.float32)
    scale = want / np.maximum(high - low, 1e-6)
    points = (points - (low + high) / 2) * scale
    points /= np.linalg.norm(want)
    uvs = np.array(mesh.uvs, np.float32).reshape(-1, 2)
    parts = []
    for name, corners in mesh.faces.items():
        index = np.array([[int(w) if w else 0 for w in corner] for corner in corners])
        lengths = np.array([len(points), len(uvs), len(normals)])
        index = np.where(index < 0, index + lengths, index - 1)
        place = points[index[:, 0]]
        flat = np.cross(place[1::3] - place[::3], place[2::3] - place[::3]).repeat(3, 0)
        has_normal = (index[:, 2] >= 0) & (len(normals) > 0)
        normal = np.where(has_normal[:, None], normals[index[:, 2]] if len(normals) else flat, flat)
        uv = (
            np.where((index[:, 1] >= 0)[:, None], uvs[index[:, 1]], 0)
            if len(uvs)
            else np.zeros((len(place), 2))
        )
        parts.append((materials.get(name, Material()), np.hstack([place, normal, uv]).astype(np.float32)))
    return Model(entry["name"], entry.get("creator", ""), parts)


def read_texture(archive: zipfile.ZipFile, name: str | None, longest: int = 512) -> np.ndarray | None:
    """A material's picture as OpenGL wants it: uint8 RGBA [h,w,4], lowest row first; None without one."""
    if name is None or name not in archive.namelist():
        return None
    image = decode_picture(read_member(archive, name), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        return None
    channels = image.shape[2] if image.ndim == 3 else 2
    known = {2: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA}
    image = cv2.cvtColor(image, known.get(channels, cv2.COLOR_BGRA2RGBA))
    scale = longest / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[::-1])


class Renderer:
    """Draws models into RGBA pictures. Raises ImportError without moderngl, and what OpenGL raises without a
    driver."""

    def __init__(self) -> None:
        import moderngl

        self._gl = moderngl.create_standalone_context(backend="egl")
        self._program = self._gl.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        size = (_RESOLUTION, _RESOLUTION)
        self._target = self._gl.framebuffer(
            [self._gl.renderbuffer(size, 4)], self._gl.depth_renderbuffer(size)
        )
        self._gl.enable(moderngl.DEPTH_TEST)

    def turn(
        self, archive: zipfile.ZipFile, model: Model, rng: np.random.Generator, steps: int = STEPS
    ) -> Iterator[np.ndarray]:
        """RGBA uint8 pictures of the model at `steps` equal yaws, from a random height, in random light."""
        parts, resources = [], []
        for material, rows in model.parts:
            if material.opacity < 0.15:
                continue
            buffer = self._gl.buffer(rows.tobytes())
            array = self._gl.vertex_array(self._program, [(buffer, "3f 3f 2f", "position", "normal", "uv")])
            picture = self._texture(archive, material.texture)
            parts.append((material, array, picture))
            resources += [r for r in (array, buffer, picture) if r is not None]
        tilt = rng.uniform(0.12, 0.6)
        light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.3, 1), rng.uniform(0.4, 1)])
        self._program["light"] = tuple(light / np.linalg.norm(light))
        self._program["ambient"] = float(rng.uniform(0.35, 0.6))
        self._program["shine"] = float(rng.uniform(0, 0.25))
        for step in range(steps):
            yield self._draw(parts, 2 * np.pi * step / steps, tilt)
        for resource in resources:
            resource.release()

    def _texture(self, archive: zipfile.ZipFile, name: str | None) -> object | None:
        image = read_texture(archive, name)
        if image is None:
            return None
        texture = self._gl.texture(image.shape[1::-1], 4, image.tobytes())
        texture.build_mipmaps()
        return texture

    def _draw(self, parts: list, yaw: float, tilt: float) -> np.ndarray:
        cy, sy, ct, st = np.cos(yaw), np.sin(yaw), np.cos(tilt), np.sin(tilt)
        turn = np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]]) @ np.array(
            [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]
        )
        distance = 2.6
        focal = 1.85 * distance
        view = np.eye(4)
        view[:3, :3] = turn
        view[2, 3] = -distance
        near, far = 0.5, 6.0
        lens = np.array(
            [
                [focal, 0, 0, 0],
                [0, focal, 0, 0],
                [0, 0, (far + near) / (near - far), 2 * far * near / (near - far)],
                [0, 0, -1, 0],
            ]
        )
        lens[:2] /= 1.0
        self._program["mvp"].write((lens @ view).T.astype(np.float32).tobytes())
        self._program["turn"].write(turn.T.astype(np.float32).tobytes())
        self._target.use()
        self._target.clear(0, 0, 0, 0)
        for material, array, picture in parts:
            self._program["textured"] = picture is not None
            self._program["colour"] = material.colour
            if picture is not None:
                picture.use(0)
            array.render()
        data = np.frombuffer(self._target.read(components=4), np.uint8).reshape(_RESOLUTION, _RESOLUTION, 4)
        return data[::-1].copy()


def usable(archive: zipfile.ZipFile, entry: dict[str, str]) -> bool:
    """Whether the model is there and small enough to be worth its time."""
    path = entry.get("model", "").lstrip("/")
    return path in archive.namelist() and archive.getinfo(path).file_size <= _MAX_BYTES


def archives(folder: Path) -> list[Path]:
    """The catalogues of the unpacked package."""
    return sorted(folder.rglob("*.sh3f"))
