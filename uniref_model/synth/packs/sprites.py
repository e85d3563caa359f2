"""The packed cut-outs: pictures with alpha, their names, and the photographs used as backgrounds, in one
file.

The file is an npz: `blob` (all pictures as WebP/JPEG bytes, one after the other), `spans` int64 [n,2] and
`index` (JSON).
It opens in well under a second; pictures are decoded when first used and kept. It holds third-party pictures
under their own
licences (see sources.py) and is therefore built on the user's machine and never shipped.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from ...limits import quoted, shown
from ...outputs import writing
from ...picture_size import check_picture
from ...reading import parse_json
from ...settings import build

T = TypeVar("T", "Sprite", "_Photo", "_Scene", "_Room")

FORMAT = 1
_CACHE_BYTES = 300 << 20
HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Sprite:
    """One named thing: its pictures (indices into the pack; several are equal steps of a turntable), and
    where it is from.

    natural: whether repainting it would make a lie of it (a tiger, a banana) more often than not.
    """

    noun: str
    kinds: tuple[str, ...]
    source: str
    pictures: tuple[int, ...]
    natural: bool = False
    upright: bool = True
    title: str = ""

    def used(self) -> tuple[int, ...]:
        """The pack's pictures that it consists of."""
        return self.pictures


def held_out(key: str) -> bool:
    """Whether a sprite or background with this key belongs to the validation set (a tenth, by hash, for
    ever)."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF < HELD_OUT_SHARE


class SpritePack:
    """Sprites, backgrounds, scenes and rooms, decoded on demand. Picklable: workers share the bytes and
    decode for themselves."""

    def __init__(
        self,
        blob: np.ndarray,
        spans: np.ndarray,
        sprites: Sequence[Sprite],
        backgrounds: Sequence[dict],
        scenes: Sequence[dict] = (),
        rooms: Sequence[dict] = (),
    ):
        self.blob, self.spans = blob, spans
        self.sprites = tuple(sprites)
        self.backgrounds = tuple(backgrounds)
        self.scenes = tuple(scenes)
        self.rooms = tuple(rooms)
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_cache": OrderedDict(), "_bytes": 0}

    def picture(self, index: int) -> np.ndarray:
        """Picture `index`: uint8 [h,w,4] RGBA of a sprite or scene (opaque where its thing is), [h,w,3] RGB
        of a background or room, or [h,w] labels of a room. Do not write into it."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        start, stop = self.spans[index]
        check_picture(self.blob[start:stop].tobytes(), f"picture {index} of the sprite pack")
        image = cv2.imdecode(self.blob[start:stop], cv2.IMREAD_UNCHANGED)
        if image is None:
            raise ValueError(f"picture {index} of the sprite pack cannot be decoded; build the pack again")
        if image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
        self._cache[index] = image
        self._bytes += image.nbytes
        while self._bytes > _CACHE_BYTES and len(self._cache) > 1:
            self._bytes -= self._cache.popitem(last=False)[1].nbytes
        return image

    def split(self, validation: bool) -> SpritePack:
        """The training part, or the tenth that is held out (sharing the same bytes)."""
        sprites = [s for s in self.sprites if held_out(f"{s.source}/{s.title or s.noun}") == validation]
        backgrounds = [b for b in self.backgrounds if held_out(b["key"]) == validation]
        scenes = [s for s in self.scenes if held_out(s["key"]) == validation]
        rooms = [r for r in self.rooms if held_out(r["key"]) == validation]
        return SpritePack(self.blob, self.spans, sprites, backgrounds, scenes, rooms)

    @classmethod
    def empty(cls) -> SpritePack:
        """No pictures at all: a generator then works with procedural objects only."""
        return cls(np.zeros(0, np.uint8), np.zeros((0, 2), np.int64), (), ())

    @classmethod
    def load(cls, path: Path | str) -> SpritePack:
        """Open a pack. Raises FileNotFoundError or ValueError with what to do."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no sprite pack at {path}: build it with `uniref data fetch` and `uniref data build`"
            )
        try:
            _check_stored(path)
            with np.load(path) as data:
                index = parse_json(bytes(data["index"]).decode())
                form = index.get("format")
                if form == FORMAT:
                    return cls._of(index, data["blob"], data["spans"])
        except _DAMAGE as error:
            reason = quoted(error, 200)
            raise ValueError(f"{path} is no sprite pack, or damaged: {reason}; build it again") from error
        raise ValueError(f"{path}: sprite pack format {shown(form)}, expected {FORMAT}; build it again")

    @classmethod
    def _of(cls, index: dict[str, Any], blob: np.ndarray, spans: np.ndarray) -> SpritePack:
        """The pack of a file's parts. Raises ValueError, TypeError or KeyError where they do not fit."""
        _check_spans(spans, blob)
        scenes, rooms = index.get("scenes", ()), index.get("rooms", ())  # older packs have none
        for entries, kind in ((index["backgrounds"], _Photo), (scenes, _Scene), (rooms, _Room)):
            _read_entries(entries, kind, len(spans))
        sprites = _read_entries(index["sprites"], Sprite, len(spans))
        return cls(blob, spans, sprites, index["backgrounds"], scenes, rooms)


@dataclass(frozen=True)
class _Photo:
    """What the index says of a photograph."""

    picture: int
    key: str
    source: str

    def used(self) -> tuple[int, ...]:
        return (self.picture,)


@dataclass(frozen=True)
class _Scene(_Photo):
    noun: str = ""


@dataclass(frozen=True)
class _Room:
    pictures: tuple[int, ...]
    labels: tuple[int, ...]
    nouns: tuple[str, ...]
    count: int
    whole: tuple[tuple[float, ...], ...]
    key: str
    source: str

    def used(self) -> tuple[int, ...]:
        return self.pictures + self.labels


_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, MemoryError),
    *(zipfile.BadZipFile, NotImplementedError, zlib.error),
)
"""What zipfile, NumPy and JSON raise for another file, or a damaged one."""


def _check_stored(path: Path) -> None:
    """Refuse an archive whose parts state more bytes than it has: ours are not compressed. Raises
    ValueError."""
    with zipfile.ZipFile(path) as archive:
        stated = sum(entry.file_size for entry in archive.infolist())
    if stated > path.stat().st_size:
        raise ValueError(f"its parts state {stated} bytes, and it has {path.stat().st_size}")


def _check_spans(spans: np.ndarray, blob: np.ndarray) -> None:
    if blob.dtype != np.uint8 or blob.ndim != 1 or spans.dtype != np.int64 or spans.shape[1:] != (2,):
        raise ValueError("its pictures are not bytes and where each begins and ends")
    if len(spans) and not (spans.min() >= 0 and spans.max() <= len(blob) and (np.diff(spans) > 0).all()):
        raise ValueError("its pictures lie outside its bytes")


def _read_entries(entries: Any, kind: type[T], pictures: int) -> list[T]:
    if not isinstance(entries, list | tuple):
        raise TypeError(f"expected a list, found {shown(entries)}")
    found = [build(kind, entry) for entry in entries]
    if any(not 0 <= number < pictures for one in found for number in one.used()):
        raise ValueError(f"it uses pictures that it has not: there are {pictures}")
    return found


class PackWriter:
    """Collects pictures and writes the pack in one go."""

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        self.sprites: list[Sprite] = []
        self.backgrounds: list[dict] = []
        self.scenes: list[dict] = []
        self.rooms: list[dict] = []

    @classmethod
    def of(cls, pack: SpritePack) -> PackWriter:
        """Go on with a whole pack (not a part of one), without its rooms."""
        gone = {index for room in pack.rooms for index in (*room["pictures"], *room["labels"])}
        last = [len(pack.spans), *gone]
        if gone and sorted(gone) != list(range(min(gone), len(pack.spans))):
            raise ValueError("the pack's rooms are not its last pictures; build it again")
        writer = cls()
        writer._chunks = [pack.blob[start:stop] for start, stop in pack.spans[: min(last)]]
        writer.sprites, writer.backgrounds = list(pack.sprites), list(pack.backgrounds)
        writer.scenes = list(pack.scenes)
        return writer

    def add_picture(self, image: np.ndarray, quality: int = 92) -> int:
        """Store uint8 [h,w,4] RGBA (WebP), [h,w,3] RGB (JPEG) or [h,w] labels (PNG). Returns its index."""
        if image.ndim == 2 and image.dtype == np.uint8:
            return self._add_chunk(*cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9]))
        if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
            raise ValueError(f"picture must be uint8 [h,w] or [h,w,3 or 4], got {image.dtype} {image.shape}")
        if image.shape[2] == 4:
            ok, data = cv2.imencode(
                ".webp", cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_WEBP_QUALITY, quality]
            )
        else:
            ok, data = cv2.imencode(
                ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
            )
        return self._add_chunk(ok, data)

    def _add_chunk(self, ok: bool, data: np.ndarray) -> int:
        if not ok:
            raise ValueError("a picture could not be encoded")
        self._chunks.append(data.reshape(-1))
        return len(self._chunks) - 1

    def add_sprite(
        self,
        noun: str,
        pictures: Iterable[np.ndarray],
        source: str,
        kinds: tuple[str, ...] = (),
        **more: object,
    ) -> None:
        """Store a named thing with one picture, or with the equal steps of a turntable."""
        indices = tuple(self.add_picture(p) for p in pictures)
        self.sprites.append(Sprite(noun, kinds, source, indices, **more))

    def add_background(self, image: np.ndarray, key: str, source: str) -> None:
        """Store a background photograph RGB uint8 [h,w,3]."""
        self.backgrounds.append({"picture": self.add_picture(image, 90), "key": key, "source": source})

    def add_scene(self, image: np.ndarray, mask: np.ndarray, noun: str, key: str, source: str) -> None:
        """Store a photograph RGB uint8 [h,w,3] of one named thing, where mask bool [h,w] is true."""
        alpha = np.where(mask, 255, 254).astype(
            np.uint8
        )  # not 0: encoders forget the colour of what is clear
        picture = self.add_picture(np.dstack([image, alpha]))
        self.scenes.append({"picture": picture, "noun": noun, "key": key, "source": source})

    def add_room(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        nouns: Sequence[str],
        count: int,
        whole: np.ndarray,
        key: str,
    ) -> None:
        """Store views of a room: RGB uint8 [h,w,3] and labels uint8 [h,w], i + 1 for nouns[i], each. The
        first `count` may be meant, the others are clutter. whole int [n,views]: pixels of each if nothing
        hid it."""
        entry = {
            "pictures": [self.add_picture(image) for image in images],
            "labels": [self.add_picture(label) for label in labels],
            "nouns": list(nouns),
            "count": int(count),
            "whole": np.asarray(whole).tolist(),
            "key": key,
            "source": "rooms",
        }
        self.rooms.append(entry)

    def pack(self) -> SpritePack:
        """What was collected so far, in memory."""
        ends = np.cumsum([0] + [len(c) for c in self._chunks])
        blob = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.uint8)
        return SpritePack(
            blob,
            np.stack([ends[:-1], ends[1:]], 1).astype(np.int64),
            self.sprites,
            self.backgrounds,
            self.scenes,
            self.rooms,
        )

    def save(self, path: Path | str) -> None:
        """Write the pack, atomically. Raises SourceError."""
        path = Path(path)
        pack = self.pack()
        index = {
            "format": FORMAT,
            "sprites": [asdict(s) for s in self.sprites],
            "backgrounds": self.backgrounds,
            "scenes": self.scenes,
            "rooms": self.rooms,
        }
        text = np.frombuffer(json.dumps(index).encode(), np.uint8)
        with writing(path, "wb") as file:
            np.savez(file, blob=pack.blob, spans=pack.spans, index=text)


def bleed_edges(rgba: np.ndarray) -> np.ndarray:
    """Give transparent pixels the colour of the nearest opaque ones, so that resizing brings no fringe. uint8
    [h,w,4]."""
    opaque = rgba[..., 3] > 200
    if not opaque.any() or opaque.all():
        return rgba
    _, nearest = cv2.distanceTransformWithLabels(
        (~opaque).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    lookup = np.zeros((nearest.max() + 1, 3), np.uint8)
    lookup[nearest[opaque]] = rgba[opaque][:, :3]
    out = rgba.copy()
    out[..., :3] = np.where(opaque[..., None], rgba[..., :3], lookup[nearest])
    return out


def trim(rgba: np.ndarray, longest: int) -> np.ndarray | None:
    """Crop to the opaque part and shrink so that the longest side is at most `longest`; None if nearly
    nothing is left."""
    x, y, w, h = cv2.boundingRect((rgba[..., 3] > 24).astype(np.uint8))
    if w < 12 or h < 12:
        return None
    rgba = rgba[y : y + h, x : x + w]
    scale = longest / max(w, h)
    if scale < 1:
        rgba = cv2.resize(
            rgba, (max(2, round(w * scale)), max(2, round(h * scale))), interpolation=cv2.INTER_AREA
        )
    return np.ascontiguousarray(rgba)


def trim_together(pictures: Sequence[np.ndarray], longest: int) -> list[np.ndarray] | None:
    """Crop several looks at one thing to the box that holds them all, so that they keep one scale; shrink as
    `trim` does."""
    union = np.max([p[..., 3] for p in pictures], axis=0)
    x, y, w, h = cv2.boundingRect((union > 24).astype(np.uint8))
    if w < 12 or h < 12:
        return None
    scale = min(1.0, longest / max(w, h))
    size = (max(2, round(w * scale)), max(2, round(h * scale)))
    return [
        cv2.resize(bleed_edges(p[y : y + h, x : x + w]), size, interpolation=cv2.INTER_AREA) for p in pictures
    ]
