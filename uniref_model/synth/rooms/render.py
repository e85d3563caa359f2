"""Draw furnished rooms by OpenGL without a screen: textures, one light with its shadows, and whose pixel is
whose.

Lengths are metres, y is up. Only used when the sprite pack is built; needs the optional package moderngl and
an EGL driver (a software one will do).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIZE = (240, 400)  # of the pictures: larger than training's frames, so that they can be cropped
_FINER = 2  # drawn so much larger, then averaged
_SHADOW = 1024

_VERTEX = """
#version 330
uniform mat4 seen; uniform mat4 place; uniform mat4 lit; uniform float lift; uniform vec3 light;
in vec3 position; in vec3 normal; in vec2 uv;
out vec3 n; out vec2 t; out vec3 world; out vec3 shade;
void main() {
    vec4 w = place * vec4(position, 1.0);
    n = mat3(place) * normal; t = uv; world = w.xyz;
    vec3 away = dot(n, n) > 0.0 ? normalize(n) * sign(dot(n, light)) : vec3(0.0);
    shade = (lit * vec4(w.xyz + lift * away, 1.0)).xyz * 0.5 + 0.5;
    gl_Position = seen * w;
}
"""
_FRAGMENT = """
#version 330
uniform vec3 colour; uniform bool textured; uniform sampler2D picture; uniform float number;
uniform vec3 eye; uniform vec3 light; uniform vec3 sun; uniform vec3 sky; uniform float shine;
uniform sampler2DShadow shadows; uniform float soft; uniform float fall;
in vec3 n; in vec2 t; in vec3 world; in vec3 shade; out vec4 result;
float daylight() {
    float sum = 0.0;
    float turn = fract(52.98 * fract(dot(gl_FragCoord.xy, vec2(0.0671, 0.00584)))) * 6.283;
    for (int i = 0; i < 6; i++) {
        float angle = turn + 2.4 * float(i), reach = soft * sqrt((float(i) + 0.5) / 6.0);
        sum += texture(shadows, shade + vec3(reach * cos(angle), reach * sin(angle), 0.0));
    }
    return sum / 6.0;
}
void main() {
    vec4 base = textured ? texture(picture, t) : vec4(colour, 1.0);
    if (base.a < 0.3) discard;
    if (number >= 0.0) { result = vec4(number / 255.0); return; }
    vec3 to_eye = normalize(eye - world);
    vec3 m = dot(n, n) > 0.0 ? normalize(n) : to_eye;
    if (dot(m, to_eye) < 0.0) m = -m;
    float open = daylight();
    float d = max(dot(m, light), 0.0) * open;
    float s = pow(max(dot(reflect(-light, m), to_eye), 0.0), 24.0) * shine * open;
    float near = 1.0 / (1.0 + fall * dot(world, world));
    result = vec4((base.rgb * (sky * (0.9 + 0.1 * m.y) + sun * d) + s) * near, 1.0);
}
"""


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles of one material: colour RGB 0..1, rows float32 [n,8] (position, normal, uv), three a
    triangle; picture uint8 RGBA [h,w,4], lowest row first, takes the colour's place."""

    colour: tuple[float, float, float]
    rows: np.ndarray
    picture: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Body:
    """Something in the room: its parts, float64 [4,4] from its own metres to the room's, its number in the
    labels (0: none), and whether it throws a shadow."""

    parts: Sequence[Part]
    place: np.ndarray
    number: int = 0
    shadow: bool = True


@dataclass(frozen=True)
class Eye:
    """A pinhole camera: where it is, what is in the middle of its picture, roll in radians, and focal length
    in widths of the picture."""

    position: np.ndarray
    target: np.ndarray
    roll: float
    focal: float

    def matrix(self) -> np.ndarray:
        """Room -> OpenGL's clip coordinates, float64 [4,4]."""
        near, far = 0.05, 60.0
        aspect = SIZE[1] / SIZE[0]
        lens = np.zeros((4, 4))
        lens[0, 0], lens[1, 1] = 2 * self.focal, 2 * self.focal * aspect
        lens[2, 2:] = (far + near) / (near - far), 2 * far * near / (near - far)
        lens[3, 2] = -1
        return lens @ _look(self.position, self.target, self.roll)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points [n,3] -> pixels (column, row) [n,2]."""
        clip = np.column_stack((points, np.ones(len(points)))) @ self.matrix().T
        place = clip[:, :2] / clip[:, 3:]
        return (place * (0.5, -0.5) + 0.5) * SIZE[::-1]


@dataclass(frozen=True)
class Sun:
    """The light: unit vector towards it, its and the sky's RGB strength, the shadows' softness in metres,
    how much things shine, the radius in metres about the room's origin where things throw shadows, and by how
    much it is darker a metre (squared) from there."""

    towards: np.ndarray
    strength: np.ndarray
    sky: np.ndarray
    soft: float
    shine: float
    reach: float
    fall: float = 0.0

    def matrix(self) -> np.ndarray:
        """Room -> the shadow map's clip coordinates, float64 [4,4]."""
        box = np.diag((1 / self.reach, 1 / self.reach, -1 / (2 * self.reach), 1.0))
        box[2, 3] = -1  # the eye stands 2 reaches off, and sees from there to 4
        return box @ _look(self.towards * 2 * self.reach, np.zeros(3), 0.0)


def _look(position: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    """Room -> eye (x right, y up, looking along -z), float64 [4,4]."""
    back = position - target
    back = back / np.linalg.norm(back)
    right = np.cross((0.0, 1.0, 0.0), back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    cosine, sine = np.cos(roll), np.sin(roll)
    view = np.eye(4)
    view[:3, :3] = cosine * right + sine * up, cosine * up - sine * right, back
    view[:3, 3] = -view[:3, :3] @ position
    return view


class RoomRenderer:
    """Draws bodies into pictures of SIZE. Raises ImportError without moderngl, and what OpenGL raises without
    a driver. What it has once drawn it keeps, until `forget`."""

    def __init__(self) -> None:
        import moderngl

        self._gl = moderngl.create_standalone_context(backend="egl")
        self._program = self._gl.program(vertex_shader=_VERTEX, fragment_shader=_FRAGMENT)
        self._fine = self._framebuffer((SIZE[1] * _FINER, SIZE[0] * _FINER))
        self._plain = self._framebuffer(SIZE[::-1])
        self._depth = self._gl.depth_texture((_SHADOW, _SHADOW))
        self._depth.compare_func = "<="
        self._depth.repeat_x = self._depth.repeat_y = False
        self._map = self._gl.framebuffer(depth_attachment=self._depth)
        self._gl.enable(moderngl.DEPTH_TEST)
        self._program["picture"], self._program["shadows"] = 0, 1
        self._kept: dict[int, tuple[Part, list]] = {}

    def _framebuffer(self, size: tuple[int, int]) -> object:
        return self._gl.framebuffer([self._gl.renderbuffer(size, 4)], self._gl.depth_renderbuffer(size))

    def picture(self, bodies: Sequence[Body], eye: Eye, sun: Sun) -> np.ndarray:
        """What the eye sees, RGB uint8 [h,w,3]."""
        with self._gl:  # several renderers may live side by side
            data = self._paint(bodies, eye, sun)
        height, width = SIZE
        data = data.reshape(height, _FINER, width, _FINER, 3)
        return np.ascontiguousarray(data.mean((1, 3))[::-1].round().astype(np.uint8))

    def _paint(self, bodies: Sequence[Body], eye: Eye, sun: Sun) -> np.ndarray:
        """The enlarged picture's values, lowest row first."""
        set_to = self._program.__getitem__
        _write(set_to("lit"), sun.matrix())
        _write(set_to("seen"), sun.matrix())
        set_to("light").value, set_to("eye").value = tuple(sun.towards), tuple(eye.position)
        set_to("sun").value, set_to("sky").value = tuple(sun.strength), tuple(sun.sky)
        set_to("soft").value, set_to("shine").value = sun.soft / (2 * sun.reach), sun.shine
        set_to("fall").value = sun.fall
        set_to("lift").value = 3 * sun.reach / _SHADOW
        self._map.use()
        self._map.clear(depth=1.0)
        self._draw([body for body in bodies if body.shadow], numbered=True)
        _write(set_to("seen"), eye.matrix())
        self._depth.use(1)
        self._fine.use()
        self._fine.clear(*sun.sky)
        self._draw(bodies, numbered=False)
        return np.frombuffer(self._fine.read(components=3), np.uint8)

    def labels(self, bodies: Sequence[Body], eye: Eye) -> np.ndarray:
        """The bodies' numbers, uint8 [h,w]."""
        with self._gl:
            _write(self._program["seen"], eye.matrix())
            self._plain.use()
            self._plain.clear()
            self._draw(bodies, numbered=True)
            data = np.frombuffer(self._plain.read(components=4), np.uint8)
        return np.ascontiguousarray(data.reshape(*SIZE, 4)[::-1, :, 0])

    def whole(self, body: Body, eye: Eye) -> int:
        """How many pixels the body would have with nothing before it and a wider picture."""
        wider = Eye(eye.position, eye.target, eye.roll, eye.focal / 2)
        return int((self.labels([body], wider) > 0).sum()) * 4

    def forget(self, bodies: Sequence[Body]) -> None:
        """Free what was kept of these bodies' parts."""
        with self._gl:
            for part in (part for body in bodies for part in body.parts):
                for resource in self._kept.pop(id(part), (part, []))[1]:
                    resource.release()

    def _draw(self, bodies: Sequence[Body], numbered: bool) -> None:
        for body in bodies:
            _write(self._program["place"], body.place)
            self._program["number"].value = float(body.number) if numbered else -1.0
            for part in body.parts:
                array, _, *picture = self._ready(part)
                self._program["textured"].value = bool(picture)
                self._program["colour"].value = tuple(part.colour)
                if picture:
                    picture[0].use(0)
                array.render()

    def _ready(self, part: Part) -> list:
        """[vertex array, buffer, texture if there is one] of a part."""
        if id(part) not in self._kept:
            buffer = self._gl.buffer(np.ascontiguousarray(part.rows, np.float32).tobytes())
            made = [self._gl.vertex_array(self._program, [(buffer, "3f 3f 2f", "position", "normal", "uv")])]
            made.append(buffer)
            if part.picture is not None:
                picture = self._gl.texture(part.picture.shape[1::-1], 4, part.picture.tobytes())
                picture.build_mipmaps()
                picture.anisotropy = 8.0
                made.append(picture)
            self._kept[id(part)] = part, made  # the part too, lest another gets its id
        return self._kept[id(part)][1]


def _write(uniform: object, matrix: np.ndarray) -> None:
    uniform.write(matrix.T.astype(np.float32).tobytes())
