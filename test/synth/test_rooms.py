"""Training clips of rendered rooms: the geometry of what is drawn, and clips of what is packed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from uniref_model.synth.compose import ClipGenerator
from uniref_model.synth.config import ClipConfig
from uniref_model.synth.packs.sprites import PackWriter, SpritePack, held_out
from uniref_model.synth.rooms.build import RoomMaker, add_rooms, room_key
from uniref_model.synth.rooms.layout import (
    FLOOR,
    TABLE,
    Entry,
    _block,
    _quad,
    choose,
    entries,
    lay_out,
    spread,
)
from uniref_model.synth.rooms.render import SIZE, Body, Eye, RoomRenderer, Sun
from uniref_model.synth.things.names import name_object

SUN = Sun(np.array([0.0, 0.8, -0.6]), np.full(3, 0.5), np.full(3, 0.5), 0.01, 0.0, 3.0)


@pytest.fixture(scope="module")
def renderer() -> RoomRenderer:
    pytest.importorskip("moderngl")
    try:
        return RoomRenderer()
    except Exception as error:  # whatever the driver raises when there is none
        pytest.skip(f"no EGL driver: {error}")


def cube(x: float, z: float, number: int, colour: tuple[int, int, int] = (200, 40, 30)) -> Body:
    """A cube of 40 cm that stands on the floor."""
    image = np.full((4, 4, 3), colour, np.uint8)
    place = np.eye(4)
    place[:3, 3] = x, 0, z
    return Body(_block(np.array([-0.2, 0, -0.2]), np.array([0.2, 0.4, 0.2]), image), place, number)


def floor() -> Body:
    return _quad((-4, 0, 4), (4, 0, 4), (-4, 0, -4), np.full((8, 8, 3), 180, np.uint8))


def eye(x: float = 0.0) -> Eye:
    return Eye(np.array([x, 1.0, 3.0]), np.array([x, 0.3, 0.0]), 0.0, 1.0)


def middle(labels: np.ndarray, number: int) -> np.ndarray:
    return np.array(np.nonzero(labels == number)).mean(1)[::-1]


def test_near_things_pass_by_faster_than_far_ones(renderer: RoomRenderer) -> None:
    bodies = [floor(), cube(-0.5, 1.0, 1), cube(0.5, -1.5, 2)]
    before, after = (renderer.labels(bodies, eye(x)) for x in (0.0, 0.3))
    near, far = (middle(before, i)[0] - middle(after, i)[0] for i in (1, 2))
    assert near > 1.6 * far > 5, "both go left as the camera goes right, the near one faster"
    assert set(np.unique(before)) == {0, 1, 2}


def test_things_are_where_the_camera_says_and_cover_what_is_behind(renderer: RoomRenderer) -> None:
    bodies = [cube(0.0, 0.8, 1), cube(0.25, -0.8, 2)]
    labels = renderer.labels([floor(), *bodies], eye())
    foot = eye().project(np.array([[-0.2, 0.0, 1.0]]))[0]
    rows, columns = np.nonzero(labels == 1)
    assert abs(rows.max() - foot[1]) < 2 and abs(columns.min() - foot[0]) < 2, "the foot is on the floor"
    alone = renderer.labels([bodies[1]], eye())
    assert (alone == 2).sum() > (labels == 2).sum() > 0
    assert abs(renderer.whole(bodies[1], eye()) / (alone == 2).sum() - 1) < 0.1


def test_a_shadow_begins_at_the_foot_and_darkens_the_floor(renderer: RoomRenderer) -> None:
    body = cube(0.0, 0.0, 1)
    lit = renderer.picture([floor()], eye(), SUN).astype(int)
    shaded = renderer.picture([floor(), body], eye(), SUN).astype(int)
    for depth, dark in ((0.23, True), (0.35, True), (0.9, False)):
        column, row = eye().project(np.array([[0.0, 0.0, depth]]))[0].round().astype(int)
        gone = (lit - shaded)[row, column].mean()
        assert (gone > 40) == dark, f"{depth} m before the middle: darker by {gone}"
    assert lit.mean() > 90, "a floor is neither black nor white"


def catalogue(folder: Path) -> Path:
    """A catalogue of cubes with a stray point below, a hanging lamp and a door."""
    named = {"Chair": 50, "Box": 60, "Stool": 40, "Cup": 10, "Door": 90, "Lamp": 50}
    lines = []
    for number, (name, size) in enumerate(named.items(), 1):
        sides = {"name": name, "model": f"/{name}.obj", "width": size, "depth": size, "height": size}
        sides |= {"elevation": 150} if name == "Lamp" else {}
        lines += [f"{key}#{number}={value}" for key, value in sides.items()]
    points = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)] + [(0, -1, 0)]
    faces = ((1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4))
    cubes = [f"v {x} {y} {z}" for x, y, z in points] + ["f " + " ".join(map(str, f)) for f in faces]
    with zipfile.ZipFile(folder / "cubes.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines))
        for name in named:
            archive.writestr(f"{name}.obj", "\n".join(cubes))
    return folder / "cubes.sh3f"


def test_models_stand_on_their_lowest_triangle_where_they_fit(tmp_path: Path) -> None:
    with zipfile.ZipFile(catalogue(tmp_path)) as archive:
        found = entries(archive, "cubes")
        assert {e.noun for e in found[FLOOR]} == {"chair", "box", "stool"}
        assert {e.noun for e in found[TABLE]} == {"cup"}
        rows = found[TABLE][0].parts()[0].rows
    assert rows[:, 1].min() == 0 and rows[:, 0].min() == -rows[:, 0].max() == pytest.approx(-0.05)


def test_rooms_are_rendered_of_a_catalogue(renderer: RoomRenderer, tmp_path: Path) -> None:
    with zipfile.ZipFile(catalogue(tmp_path)) as archive:
        keys = {e.noun: e.key for found in entries(archive, "cubes").values() for e in found}
        maker = RoomMaker({"cubes": archive}, {})
        made = next(room for room in map(maker.room, range(20)) if room is not None)
    assert made.images.shape == (3, *SIZE, 3) and made.labels.shape == (3, *SIZE)
    assert set(made.nouns) <= {*keys, "table"} and made.count >= 2
    assert made.labels.max() <= len(made.nouns) and made.whole.shape == (len(made.nouns), 3)
    seen = np.array([[(label == i + 1).sum() for label in made.labels] for i in range(made.count)])
    assert (seen <= 1.15 * made.whole[: made.count] + 40).all()
    writer = PackWriter()
    assert add_rooms(writer, tmp_path, 3) == len(writer.rooms) > 0
    for room in writer.rooms:
        assert {held_out(keys[noun]) for noun in room["nouns"][: room["count"]]} == {held_out(room["key"])}
    assert room_key(3) == "rooms/3"


def entry(noun: str, size: tuple[float, float, float] = (0.5, 0.5, 0.5)) -> Entry:
    return Entry(f"furniture/{noun}", noun, size, None, {"name": noun})


@pytest.mark.parametrize("table", [False, True])
def test_things_in_a_layout_do_not_overlap_and_stand_inside_the_walls(table: bool) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        among = [entry("chair"), entry("sofa", (1.3, 0.8, 0.9)), entry("box", (0.3, 0.3, 0.4))]
        made = lay_out(rng, choose(rng, among, 4), table, [])
        for t in range(3):
            feet = np.array([stand.place(t)[:3, 3] for stand in made.stands])
            assert len(set(feet[:, 1])) == 1 and (feet[0, 1] > 0.5) == table, "all on one ground"
            for i, one in enumerate(made.stands):
                for j, other in enumerate(made.stands[:i]):
                    apart = np.hypot(*(feet[i] - feet[j])[::2])
                    assert apart > one.entry.radius + other.entry.radius
        ground = np.concatenate([part.rows[:, :3] for part in made.around[0].parts])
        for spot in [*feet, *(seen.position for seen in made.eyes)]:
            inside = (ground.min(0) < spot) & (spot < ground.max(0))
            assert inside[0] and inside[2]
        assert [body.number for body in made.around if body.number] == ([5] if table else [])


def test_circles_are_spread_without_touching() -> None:
    spots = spread(np.random.default_rng(0), [0.5, 0.1, 1.0], 0.05)
    assert np.hypot(*(spots[0] - spots[2])) > 1.55 and np.allclose(spots.mean(0), 0)


def room_pack() -> SpritePack:
    """Two rooms with a red ball left of a blue box, on a table that may not be meant."""
    writer = PackWriter()
    for key in ("rooms/0", "rooms/1"):
        images, labels = [], []
        for shift in (25, 3, 0):
            label = np.zeros(SIZE, np.uint8)
            label[150:230, 50:350] = 3
            cv2.circle(label, (150 + shift, 130), 30, 1, -1)
            cv2.rectangle(label, (230 + shift // 2, 90), (290 + shift // 2, 160), 2, -1)
            images.append(np.uint8([[90, 100, 90], [210, 20, 30], [30, 40, 200], [130, 80, 30]])[label])
            labels.append(label)
        writer.add_room(
            images, labels, ["ball", "box", "table"], 2, [[2900] * 3, [4400] * 3, [24000] * 3], key
        )
    return writer.pack()


def clips(count: int, **settings: object) -> list:
    generator = ClipGenerator(room_pack(), ClipConfig(room_share=1.0, **settings), seed=2)
    return [generator.clip(index) for index in range(count)]


def test_a_room_becomes_a_clip_of_all_its_things() -> None:
    mirrored = set()
    for clip in clips(12):
        assert clip.images.shape == (3, 192, 320, 3) and clip.images.dtype == np.uint8
        assert clip.labels.shape == (3, 192, 320) and set(np.unique(clip.labels)) == {0, 1, 2}
        assert [(thing.name, thing.index) for thing in clip.objects] == [("ball", 1), ("box", 2)]
        for thing in clip.objects:
            assert thing.area == tuple((clip.labels == thing.index).sum((1, 2)))
            assert thing.visible[-1] > 0.25 and thing.source == "rooms"
        assert clip.objects[0].colours == ("red",) and clip.objects[1].colours == ("blue",)
        red = clip.images[2][clip.labels[2] == 1].mean(0)
        assert red[0] > 1.5 * red[2], "labels lie on what they name"
        mirrored.add(middle(clip.labels[2], 1)[0] > middle(clip.labels[2], 2)[0])
    assert mirrored == {False, True}


def test_what_is_said_of_a_room_is_true_after_mirroring() -> None:
    places = 0
    for clip in clips(30, expressions=8):
        ball_first = middle(clip.labels[2], 1)[0] < middle(clip.labels[2], 2)[0]
        for number, phrases in enumerate(clip.expressions):
            own = name_object(("ball", "box")[number]).own
            for text in (phrase.text for phrase in phrases if 2 in phrase.frames):
                other = ("blue", "red")[number]
                assert other not in text.split()
                assert not (name_object(("box", "ball")[number]).own - own) & set(text.split())
                if any(word in text.split() for word in ("object", "thing", "one")):
                    left, right = ("left" in text.split(), "right" in text.split())
                    places += left + right
                    assert not left or ball_first == (number == 0)
                    assert not right or ball_first == (number == 1)
        absent = {text.removeprefix("the ").removeprefix("a ") for text in clip.absent}
        assert not absent & {"ball", "red ball", "box", "blue box", "table", "brown table"}
    assert places > 5


def test_rooms_change_nothing_for_those_who_ask_for_none() -> None:
    packs = room_pack(), SpritePack.empty()
    with_rooms, without = (ClipGenerator(pack, ClipConfig(), seed=3).clip(0) for pack in packs)
    assert np.array_equal(with_rooms.images, without.images)
    asked = ClipGenerator(packs[1], ClipConfig(room_share=1.0), seed=3).clip(0)
    assert np.array_equal(asked.images, without.images), "a pack without rooms has none to give"
    with pytest.raises(ValueError, match="room_share"):
        ClipGenerator(packs[0], ClipConfig(scene_share=0.6, room_share=0.6))


def test_packs_keep_rooms_and_those_without_are_read(tmp_path: Path) -> None:
    pack = room_pack()
    writer = PackWriter()
    writer.add_background(np.full((9, 9, 3), 50, np.uint8), "b", "b")
    writer.save(tmp_path / "old.npz")
    with np.load(tmp_path / "old.npz") as data:
        index = bytes(data["index"]).decode().replace(', "rooms": []', "")
        assert "rooms" not in index, "as packs were before"
        np.savez(
            tmp_path / "old.npz",
            blob=data["blob"],
            spans=data["spans"],
            index=np.frombuffer(index.encode(), np.uint8),
        )
    old = SpritePack.load(tmp_path / "old.npz")
    assert old.rooms == () and len(old.backgrounds) == 1
    more = PackWriter.of(old)
    labels = [pack.picture(index) for index in pack.rooms[0]["labels"]]
    assert set(np.unique(labels[0])) == {0, 1, 2, 3}, "labels are kept exactly"
    more.add_room([np.zeros((*SIZE, 3), np.uint8)] * 3, labels, ["ball"], 1, np.ones((1, 3)), "rooms/5")
    more.save(tmp_path / "new.npz")
    new = SpritePack.load(tmp_path / "new.npz")
    assert len(new.rooms) == 1 and np.array_equal(new.picture(new.rooms[0]["labels"][2]), labels[2])
    assert np.array_equal(new.picture(0), old.picture(0))
    assert len(new.split(True).rooms) + len(new.split(False).rooms) == 1
    again = PackWriter.of(new)
    assert not again.rooms and len(again.pack().spans) == 1
