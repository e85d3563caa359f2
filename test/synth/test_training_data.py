"""Synthetic training clips: masks, phrases and names hold what they promise. Needs no download: procedural
objects only."""

from __future__ import annotations

import pickle
import struct
import subprocess
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from uniref_model.synth.compose import Clip, ClipGenerator
from uniref_model.synth.config import ClipConfig
from uniref_model.synth.expressions import Claim, Seen, absent_for, expressions_for, refer, say
from uniref_model.synth.packs import fetch as fetching
from uniref_model.synth.packs.gcompris import cut_out, read_resources
from uniref_model.synth.packs.sources import SOURCES, licences, model_credits
from uniref_model.synth.packs.sprites import PackWriter, SpritePack, bleed_edges, trim, trim_together
from uniref_model.synth.photometry import Canvas, Finish, lay
from uniref_model.synth.things.colours import (
    COLOURS,
    SPELLINGS,
    ColourNames,
    any_colour,
    name_colours,
    paint_colour,
    recolour,
)
from uniref_model.synth.things.names import display_noun, name_object
from uniref_model.synth.things.procedural import NOUNS, make_object
from uniref_model.synth.things.shapes import Cutout, View

RELATIVE = {"middle", "center", "centre", "central", "big", "biggest", "large", "largest", "held", "hand"}
RELATIVE |= {"small", "smallest", "smaller", "little"}
SMALL = ClipConfig(height=96, width=160)


@pytest.fixture(scope="module")
def generator() -> ClipGenerator:
    return ClipGenerator(SpritePack.empty(), SMALL, seed=3)


@pytest.fixture(scope="module")
def clips(generator: ClipGenerator) -> list[Clip]:
    return [generator.clip(i) for i in range(25)]


def disc(colour: tuple[int, int, int], size: int = 40) -> np.ndarray:
    """An RGBA picture of a disc."""
    image = np.zeros((size, size, 4), np.uint8)
    cv2.circle(image, (size // 2, size // 2), size // 2 - 2, (*colour, 255), -1)
    return image


def thing(
    noun: str, *colours: str, area: int = 100, at: tuple[float, float] = (0.5, 0.5), held: bool = False
) -> Seen:
    return Seen(name_object(noun), ColourNames(frozenset(colours), frozenset(colours)), area, at, held)


# -- clips
# ------------------------------------------------------------------------------------------------------


def test_clip_has_the_promised_shapes_and_values(clips: list[Clip]) -> None:
    for clip in clips:
        assert clip.images.shape == (3, 96, 160, 3) and clip.images.dtype == np.uint8
        assert clip.labels.shape == (3, 96, 160) and clip.labels.dtype == np.uint8
        assert len(clip.expressions) == len(clip.objects)
        assert [o.index for o in clip.objects] == list(range(1, len(clip.objects) + 1))
        assert clip.labels.max() <= len(clip.objects)
        for item in clip.objects:
            assert item.area == tuple(int((clip.labels[t] == item.index).sum()) for t in range(3))
            assert all(0 <= share <= 1 for share in item.visible)


def test_clips_are_not_empty_of_objects(clips: list[Clip]) -> None:
    assert np.mean([max(o.area[2] for o in clip.objects) > 50 for clip in clips]) > 0.9
    assert sum(len(e) for clip in clips for e in clip.expressions) > 3 * len(clips)
    assert all(clip.absent for clip in clips)


def test_the_same_seed_and_index_give_the_same_clip_anywhere(generator: ClipGenerator) -> None:
    other = pickle.loads(pickle.dumps(generator))
    other.clip(0)  # the order in which clips are made must not matter
    first, again = generator.clip(7), other.clip(7)
    assert np.array_equal(first.images, again.images) and np.array_equal(first.labels, again.labels)
    assert (
        first.expressions == again.expressions
        and first.absent == again.absent
        and first.objects == again.objects
    )


def test_index_and_seed_change_the_clip(generator: ClipGenerator) -> None:
    assert not np.array_equal(generator.clip(1).images, generator.clip(2).images)
    assert not np.array_equal(
        generator.clip(1).images, ClipGenerator(SpritePack.empty(), SMALL, seed=4).clip(1).images
    )


def test_a_sprite_pack_and_photographs_are_used(tmp_path: Path) -> None:
    writer = PackWriter()
    writer.add_sprite("tomato", [disc((220, 30, 30))], "tuxpaint", natural=True)
    writer.add_background(np.full((120, 200, 3), (10, 200, 10), np.uint8), "x/green", "test")
    writer.save(tmp_path / "pack.npz")
    config = ClipConfig(height=64, width=96, sources={"tuxpaint": 1.0}, objects=(1, 1), clutter=(0, 0))
    generator = ClipGenerator(SpritePack.load(tmp_path / "pack.npz"), config)
    made = [generator.clip(i) for i in range(12)]
    assert {o.name for clip in made for o in clip.objects} == {"tomato"}
    green = [np.median(clip.images[2].reshape(-1, 3), axis=0) for clip in made]
    assert any(g[1] > 2 * max(g[0], g[2]) for g in green)


# -- masks
# ------------------------------------------------------------------------------------------------------


def test_the_mask_is_where_the_picture_changed() -> None:
    canvas = Canvas(np.zeros((80, 120, 3), np.uint8), np.zeros((80, 120), np.uint8))
    view = Cutout(disc((255, 255, 255), 64)).view(0.2, 0.1, 50)
    covered = lay(canvas, view, np.array([[50, 0, 60], [0, 50, 40], [0, 0, 1.0]]), 5, Finish())
    changed = canvas.image[..., 0] > 127
    assert set(np.unique(canvas.ids)) == {0, 5}
    assert np.count_nonzero(changed != (canvas.ids == 5)) <= 0.02 * covered
    assert abs(covered - np.pi * 25**2) < 0.15 * np.pi * 25**2


def test_a_later_thing_hides_an_earlier_one_and_a_hand_hides_both() -> None:
    canvas = Canvas(np.zeros((60, 60, 3), np.uint8), np.zeros((60, 60), np.uint8))
    place = np.array([[40, 0, 30], [0, 40, 30], [0, 0, 1.0]])
    view = Cutout(disc((200, 10, 10))).view(0, 0, 40)
    for number, right in ((1, 0), (2, 0), (0, 15)):
        shift = np.array([[1, 0, right], [0, 1, 0], [0, 0, 1.0]])
        lay(canvas, view, shift @ place, number, Finish())
    assert 1 not in canvas.ids
    assert canvas.ids[30, 15] == 2 and canvas.ids[30, 45] == 0
    assert canvas.image[30, 45, 0] > 100


def test_what_lies_outside_the_frame_paints_nothing() -> None:
    canvas = Canvas(np.zeros((30, 30, 3), np.uint8), np.zeros((30, 30), np.uint8))
    view = View(disc((9, 9, 9)), np.eye(3))
    assert lay(canvas, view, np.array([[1, 0, 500.0], [0, 1, 0], [0, 0, 1]]), 1, Finish()) == 0
    assert not canvas.ids.any()


# -- phrases
# ----------------------------------------------------------------------------------------------------


def words_of(text: str) -> set[str]:
    spelled = {other: name for name, group in SPELLINGS.items() for other in group}
    return {spelled.get(word, word) for word in text.split()}


def test_phrases_of_clips_are_true_and_fit_no_other_object(clips: list[Clip]) -> None:
    places = {
        "left": (0, -1),
        "right": (0, 1),
        "top": (1, -1),
        "upper": (1, -1),
        "bottom": (1, 1),
        "lower": (1, 1),
    }
    checked = 0
    for clip in clips:
        centres = [
            np.argwhere(clip.labels[2] == o.index).mean(0)[::-1] / (160, 96) if o.area[2] else None
            for o in clip.objects
        ]
        for item, phrases in zip(clip.objects, clip.expressions, strict=True):
            for phrase in phrases:
                words = words_of(phrase.text)
                assert 2 in phrase.frames
                assert phrase.text == phrase.text.lower()
                said = words & set(COLOURS)
                assert said <= set(item.colours), phrase
                nouns = {n for n in NOUNS if n in words}
                assert nouns <= set(item.names), phrase
                for place, (axis, sign) in places.items():
                    if place in words:
                        assert (centres[item.index - 1][axis] - 0.5) * sign > 0, phrase
                relative = words & (RELATIVE | set(places))
                if not relative and nouns:
                    rivals = [
                        o
                        for o in clip.objects
                        if o is not item and o.area[2] and nouns <= set(o.names) and said <= set(o.colours)
                    ]
                    assert not rivals, phrase
                    checked += 1
    assert checked > 20


def test_absent_phrases_fit_no_object_of_the_clip(clips: list[Clip]) -> None:
    for clip in clips:
        for text in clip.absent:
            words = words_of(text)
            nouns, said = {n for n in NOUNS if n in words}, words & set(COLOURS)
            for item in clip.objects:
                if any(item.area):
                    assert not (nouns <= set(item.names) and said <= set(item.colours)), (text, item)


def test_a_plain_noun_is_ambiguous_between_twins_but_colour_and_place_tell() -> None:
    scene = [
        thing("box", "yellow", at=(0.2, 0.5)),
        thing("box", "red", at=(0.8, 0.5)),
        thing("ball", "yellow", at=(0.5, 0.5)),
    ]
    assert refer(scene, Claim("box")) == (None, True)
    assert refer(scene, Claim("box", colour="yellow")) == (0, True)
    assert refer(scene, Claim("", colour="yellow")) == (None, True)
    assert refer(scene, Claim("carton", place="right")) == (1, True)
    assert refer(scene, Claim("", place="middle")) == (2, True)
    assert refer(scene, Claim("ball")) == (2, True)
    assert refer(scene, Claim("box", colour="blue")) == (None, False)


def test_size_needs_a_clear_difference() -> None:
    scene = [thing("cup", area=300), thing("cup", area=290), thing("cup", area=90)]
    assert refer(scene, Claim("cup", size="big")) == (None, True)
    assert refer(scene, Claim("cup", size="small")) == (2, True)
    assert refer(scene[2:], Claim("cup", size="small")) == (None, True)


def test_a_lookalike_of_another_kind_makes_a_phrase_unusable() -> None:
    scene = [thing("mug", "red"), thing("cup", "red")]
    assert refer(scene, Claim("mug", colour="red"))[0] is None
    assert refer(scene, Claim("dish", colour="red"))[0] is None


def test_clutter_and_unseen_things_count_as_they_should() -> None:
    scene = [thing("box", "yellow"), thing("box", "yellow", area=0)]
    assert refer(scene, Claim("box"))[0] == 0
    assert refer([*scene, thing("box", "blue", area=20)], Claim("box"))[0] is None


def test_held_and_frames_in_which_a_phrase_holds() -> None:
    now = [thing("box", "red", held=True), thing("box", "red")]
    assert refer(now, Claim("box", held=True)) == (0, True)
    then = [thing("box", "red", area=0), thing("box", "red")]
    rng = np.random.default_rng(0)
    for phrase in expressions_for(rng, [then, now, now], 0, count=3, tries=60):
        assert phrase.frames == (1, 2)


def test_absent_looks_at_every_frame() -> None:
    rng = np.random.default_rng(0)
    frames = [[thing("ball", "green")], [], [thing("box", "red")]]
    texts = [words_of(t) for _ in range(20) for t in absent_for(rng, frames, ("ball", "mug"))]
    assert any({"mug"} <= t for t in texts)
    assert not any("ball" in t and (t & set(COLOURS)) <= {"green"} for t in texts)


def test_phrases_are_said_in_plain_english() -> None:
    rng = np.random.default_rng(1)
    said = {say(rng, Claim("orange fruit", colour="red", place="left")) for _ in range(60)}
    assert any("red orange on the left" in s for s in said)
    assert all("fruit" not in s and s == s.strip() and "  " not in s for s in said)


# -- names and colours
# ------------------------------------------------------------------------------------------


def test_names_know_synonyms_kinds_and_lookalikes() -> None:
    box = name_object("box")
    assert {"box", "carton", "package", "container"} <= box.own
    assert "book" in box.confusable and not box.own & box.confusable
    assert {"rooster", "bird", "animal"} <= name_object("rooster").own
    assert display_noun("orange fruit") == "orange"


@pytest.mark.parametrize("colour", COLOURS)
def test_painted_colours_are_named_as_painted(colour: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        flat = np.broadcast_to(paint_colour(rng, colour), (8, 8, 3)).astype(np.uint8)
        named = name_colours(flat)
        assert colour in named.possible
        assert named.main <= named.possible
        assert named.main == {colour}, flat[0, 0]


def test_transparent_pixels_have_no_colour() -> None:
    image = disc((240, 220, 20))
    assert name_colours(image[..., :3], image[..., 3]).main == {"yellow"}
    assert name_colours(image[..., :3], np.zeros((40, 40), np.uint8)).main == frozenset()


def test_repainting_changes_the_name_and_keeps_the_drawing() -> None:
    rng = np.random.default_rng(2)
    image = disc((200, 30, 30))
    image[15:25, 15:25, :3] = (90, 10, 10)
    painted = recolour(image[..., :3], image[..., 3], paint_colour(rng, "blue"))
    assert name_colours(painted, image[..., 3]).main == {"blue"}
    assert painted[20, 20].sum() < painted[8, 20].sum()


def test_all_colour_words_are_drawn_equally() -> None:
    rng = np.random.default_rng(0)
    drawn = [any_colour(rng) for _ in range(2200)]
    assert min(drawn.count(c) for c in COLOURS) > 130


# -- objects
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noun", NOUNS)
def test_procedural_objects_can_be_seen_from_anywhere(noun: str) -> None:
    rng = np.random.default_rng(1)
    _, shape = make_object(rng, noun=noun, colour="green")
    pictures = []
    for yaw, pitch in ((0.0, 0.2), (1.3, -0.4), (3.0, 0.8)):
        view = shape.view(yaw, pitch, 60)
        assert view.rgba.dtype == np.uint8 and view.rgba.shape[2] == 4
        corner = view.to_units @ np.array([0, 0, 1.0])
        assert np.all(np.abs(corner[:2] / corner[2]) < 1.2)
        assert (view.rgba[..., 3] > 127).mean() > 0.03
        pictures.append(view.rgba)
    assert pictures[0].shape != pictures[1].shape or not np.array_equal(pictures[0], pictures[1])


def test_an_unknown_noun_is_refused(generator: ClipGenerator) -> None:
    with pytest.raises(ValueError, match="unicorn"):
        generator.library.thing(np.random.default_rng(0), noun="unicorn")


# -- pack, configuration, downloads
# -----------------------------------------------------------------------------


def test_pack_round_trip_and_split(tmp_path: Path) -> None:
    writer = PackWriter()
    for i in range(80):
        writer.add_sprite("box", [disc((i, 0, 0))] * (1 + i % 2), "test", title=f"sprite {i}")
        writer.add_background(np.full((20, 30, 3), i, np.uint8), f"background {i}", "test")
    writer.save(tmp_path / "deep" / "pack.npz")
    pack = SpritePack.load(tmp_path / "deep" / "pack.npz")
    assert len(pack.sprites) == 80 and pack.picture(pack.sprites[3].pictures[1]).shape == (40, 40, 4)
    train, held = pack.split(False), pack.split(True)
    assert {s.title for s in train.sprites}.isdisjoint(s.title for s in held.sprites)
    assert len(train.sprites) + len(held.sprites) == 80 and 0 < len(held.sprites) < 25
    assert len(train.backgrounds) + len(held.backgrounds) == 80 and held.backgrounds
    assert not list(tmp_path.rglob("*.partial*"))


def test_pack_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="uniref data build"):
        SpritePack.load(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="uint8"):
        PackWriter().add_picture(np.zeros((4, 4, 3), np.float32))


def claims_much(path: Path) -> None:
    """An archive of a few bytes whose array states 900 GB."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (900000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("index.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"12")


BAD_PACKS = {
    "nothing": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256))),
    "half an archive": lambda path: path.write_bytes(b"PK\3\4" + bytes(100)),
    "another archive": lambda path: np.savez(path, a=np.zeros(3)),
    "no mapping": lambda path: np.savez(path, index=np.frombuffer(b"[1]", np.uint8)),
    "another format": lambda path: np.savez(path, index=np.frombuffer(b'{"format": 0}', np.uint8)),
    "more than there is": claims_much,
}


@pytest.mark.parametrize("name", BAD_PACKS)
def test_a_file_that_is_no_pack_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    BAD_PACKS[name](tmp_path / "pack.npz")
    with pytest.raises(ValueError, match=r"pack\.npz.*; .*build it again"):
        SpritePack.load(tmp_path / "pack.npz")


def test_cut_outs_are_trimmed_and_keep_one_scale() -> None:
    image = np.zeros((100, 100, 4), np.uint8)
    image[20:60, 30:50] = (200, 100, 50, 255)
    assert trim(image, 20).shape == (20, 10, 4)
    assert trim(np.zeros((50, 50, 4), np.uint8), 20) is None
    assert (bleed_edges(image)[0, 0, :3] == (200, 100, 50)).all()
    wide = np.zeros_like(image)
    wide[30:40, 10:90] = 255
    assert {p.shape for p in trim_together([image, wide], 40)} == {(20, 40, 4)}


def test_the_yaml_file_holds_the_defaults_and_refuses_typing_errors(tmp_path: Path) -> None:
    shipped = Path(__file__).resolve().parents[2] / "config/training/data.yaml"
    assert ClipConfig.from_yaml(shipped) == ClipConfig()
    (tmp_path / "bad.yaml").write_text("widht: 3\n")
    with pytest.raises(ValueError, match="widht"):
        ClipConfig.from_yaml(tmp_path / "bad.yaml")
    with pytest.raises(ValueError, match="things in all"):
        ClipGenerator(SpritePack.empty(), ClipConfig(clutter=(0, 40)))


def test_every_source_has_a_licence() -> None:
    assert len({s.key for s in SOURCES}) == len(SOURCES)
    assert all(
        entry["licence"] and entry["attribution"] and entry["client"] in ("apt", "pip", "npm")
        for entry in licences()
    )


def resource_file(files: dict[str, bytes]) -> bytes:
    """A Qt resource file, version 1, of plain files in one folder."""
    names, blobs, nodes = b"", b"", struct.pack(">IHII", 0, 2, len(files), 1)
    for name, content in files.items():
        nodes += struct.pack(">IHHHI", len(names), 0, 0, 1, len(blobs))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        blobs += struct.pack(">I", len(content)) + content
    tree = 20
    places = (tree, tree + len(nodes), tree + len(nodes) + len(blobs))
    return b"qres" + struct.pack(">4I", 1, *places) + nodes + blobs + names


def test_qt_resources_are_read(tmp_path: Path) -> None:
    files = {"hammer.webp": b"12345", "b.txt": b""}
    (tmp_path / "x.rcc").write_bytes(resource_file(files))
    assert read_resources(tmp_path / "x.rcc") == {f"/{name}": content for name, content in files.items()}
    (tmp_path / "y.rcc").write_bytes(b"nothing at all")
    with pytest.raises(ValueError, match="not a Qt resource"):
        read_resources(tmp_path / "y.rcc")


def test_an_object_on_plain_ground_is_cut_out_and_others_are_refused() -> None:
    photo = np.full((60, 90, 3), 250, np.uint8)
    cv2.circle(photo, (45, 30), 15, (200, 40, 40), -1)
    rgba = cut_out(photo)
    assert abs((rgba[..., 3] > 127).sum() - np.pi * 15**2) < 60
    assert cut_out(np.full((60, 90, 3), 250, np.uint8)) is None
    assert cut_out(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)) is None


def test_credits_of_models(tmp_path: Path) -> None:
    assert model_credits(tmp_path) == []
    (tmp_path / "credits.json").write_text('[{"model": "Chair", "creator": "A", "catalogue": "B"}]')
    assert model_credits(tmp_path)[0]["creator"] == "A"


def test_fetch_skips_what_it_cannot_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(100, command, stderr="E: unable to locate package")

    monkeypatch.setattr(fetching.subprocess, "run", fail)
    assert fetching.fetch(["tuxpaint"], tmp_path) == {}
    assert "tuxpaint-stamps-default" in caplog.text and "unable to locate" in caplog.text
    assert (tmp_path / "licences.json").is_file() and not (tmp_path / "unpacked" / "tuxpaint").exists()
    with pytest.raises(KeyError, match="nonsense"):
        fetching.fetch(["nonsense"], tmp_path)
