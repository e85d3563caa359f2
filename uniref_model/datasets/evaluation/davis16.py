"""DAVIS 2016: ImageSets/480p/<split>.txt with a picture and its mask a line; one object a video.

Phrases are as in davis_text_annotations: `<video> "the phrase"`, or with the object's number between.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ...reading import read_bytes
from ..errors import DatasetError
from ..names import inside, plain_name
from .base import Expression, Video, VideoObject

_PHRASE = re.compile(r'(?P<video>\S+)\s+(?:\d+\s+)?"?(?P<text>[^"]+)"?')


class Davis16:
    """DAVIS 2016. The object is whatever a mask marks.

    phrases: a text file below `root` with the videos' phrases, "" for none. Raises DatasetError for lists
    that are missing or malformed.
    """

    def __init__(self, root: Path, split: str = "val", phrases: str = "") -> None:
        self.root = Path(root)
        self._pairs = _read_pairs(self.root / "ImageSets" / "480p" / f"{split}.txt")
        self.video_ids = tuple(self._pairs)
        self._phrases = _read_phrases(inside(self.root, phrases, "the phrases' file")) if phrases else None

    def video(self, video_id: str) -> Video:
        pairs = self._pairs[video_id]
        frames = {PurePosixPath(frame).stem: self.root / frame for frame, _ in pairs}
        masks = {PurePosixPath(frame).stem: self.root / mask for frame, mask in pairs}
        for path in (*frames.values(), *masks.values()):
            if not path.is_file():
                raise DatasetError(f"missing file {path}")
        first = next(iter(frames))
        objects, expressions = (VideoObject(1, first),), self._expressions(video_id)
        video = Video(video_id, tuple(frames), frames, masks, objects, expressions, binary=True)
        if not video.labels(first).any():
            raise DatasetError(f"{masks[first]} shows no object")
        return video

    def _expressions(self, video_id: str) -> tuple[Expression, ...]:
        if self._phrases is None:
            return ()
        texts = self._phrases.get(video_id)
        if not texts:
            raise DatasetError(f"{self.root}: no phrase for video {video_id}")
        return tuple(Expression(str(number), text, object_id=1) for number, text in enumerate(texts))


def _read_pairs(path: Path) -> dict[str, list[tuple[str, str]]]:
    """(picture, mask) by video, in the list's order, relative to the root. The list has a slash before
    them."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}, line {number}"
        parts = line.split()
        if len(parts) != 2:
            raise DatasetError(f"{where}: expected a picture and its mask, found {len(parts)} names")
        frame, mask = (str(inside(Path(), part.removeprefix("/"), f"{where}: the path")) for part in parts)
        video_id = plain_name(PurePosixPath(frame).parent.name, f"{where}: the video")
        pairs.setdefault(video_id, []).append((frame, mask))
    if not pairs:
        raise DatasetError(f"{path} is empty: expected a picture and its mask a line")
    return pairs


def _read_phrases(path: Path) -> dict[str, list[str]]:
    phrases: dict[str, list[str]] = {}
    for number, line in enumerate(_lines(path), 1):
        found = _PHRASE.fullmatch(line)
        if found is None:
            raise DatasetError(f'{path}, line {number}: expected <video> "the phrase"')
        phrases.setdefault(found["video"], []).append(found["text"].strip())
    return phrases


def _lines(path: Path) -> list[str]:
    """Lines that are not blank. Some of the published text files are Latin-1."""
    try:
        data = read_bytes(path, ordinary=True)
    except OSError as error:
        raise DatasetError(f"missing file {path}: expected one of DAVIS 2016 ({error.strerror})") from error
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return [line.strip() for line in text.splitlines() if line.strip()]
