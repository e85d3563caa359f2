"""Sprite packs and settings of clips with odd values in them: each is an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hostile_pictures import huge_png
from odd_values import changed

from uniref_model.limits import LimitError
from uniref_model.synth.config import ClipConfig
from uniref_model.synth.packs.sprites import PackWriter, SpritePack


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """With one of each kind of entry."""
    writer = PackWriter()
    writer.add_sprite("box", [np.full((20, 20, 4), 255, np.uint8)], "test", title="a")
    writer.add_background(np.full((20, 30, 3), 9, np.uint8), "b", "test")
    writer.add_scene(np.full((20, 30, 3), 9, np.uint8), np.ones((20, 30), bool), "box", "s", "test")
    views, labels = [np.zeros((20, 30, 3), np.uint8)] * 3, [np.ones((20, 30), np.uint8)] * 3
    writer.add_room(views, labels, ["box"], 1, np.full((1, 3), 600), "r")
    writer.save(tmp_path / "pack.npz")
    return tmp_path / "pack.npz"


def test_a_pack_with_odd_values_is_an_error_that_names_it(pack: Path) -> None:
    with np.load(pack) as whole:
        blob, spans, index = whole["blob"], whole["spans"], json.loads(bytes(whole["index"]))

    def refused(values: object = index, blob: np.ndarray = blob, spans: np.ndarray = spans) -> bool:
        np.savez(pack, blob=blob, spans=spans, index=np.frombuffer(json.dumps(values).encode(), np.uint8))
        try:
            SpritePack.load(pack)
        except ValueError as error:
            assert "pack.npz" in str(error) and "\n" not in str(error)
            return True
        return False

    assert not refused()
    assert sum(map(refused, changed(index))) > 150
    for odd in (spans + 10**9, -spans, spans.astype(float), spans.ravel(), spans[:, ::-1]):
        assert refused(spans=odd)
    assert refused(blob=blob.astype(float))


def test_a_packed_picture_that_states_a_huge_size_is_refused() -> None:
    bomb = np.frombuffer(huge_png(), np.uint8)
    with pytest.raises(LimitError, match="picture 0 of the sprite pack states 30000x30000"):
        SpritePack(bomb, np.array([[0, len(bomb)]]), (), ()).picture(0)


def test_an_archive_that_unpacks_to_more_than_it_is_is_no_pack(pack: Path) -> None:
    with np.load(pack) as whole:
        np.savez_compressed(pack, index=whole["index"], blob=np.zeros(10**7, np.uint8), spans=whole["spans"])
    with pytest.raises(ValueError, match="its parts state 1000"):
        SpritePack.load(pack)


@pytest.mark.parametrize(
    ("odd", "named"),
    [
        ("height: -1", "height is -1, expected 32 to 4096"),
        ("objects: [5]", r"objects is \(5,\), expected two numbers, the lower first"),
        ("clutter: [5, 1]", "clutter"),
        ("size: [.nan, 1.0]", "size is"),
        ("away_share: 1.5", "away_share is 1.5, expected 0 to 1"),
        ("sources: {procedural: 0.0}", "sources are"),
        ("sources: {procedural: .inf}", "sources is"),
        ("1: 2\na: 3", "unknown setting '1', 'a'"),
    ],
)
def test_settings_out_of_range_are_named(odd: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(odd)
    with pytest.raises(ValueError, match=rf"data\.yaml: .*{named}"):
        ClipConfig.from_yaml(tmp_path / "data.yaml")
