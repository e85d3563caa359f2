"""The authors' protocol in the tracker, over PyTorch: the golden videos' label maps, frame by frame
(test/golden/README.md)."""

# ruff: noqa: E402 (imports follow the check that their packages are installed)
from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import pytest

for module in ("torch", "timm", "transformers", "safetensors"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the network needs {module} (extra: train)", allow_module_level=True)

import golden_port
from golden_reader import Golden

from uniref_model.evaluation.authors import THRESHOLDS
from uniref_model.runtime.pytorch import TorchRuntime
from uniref_model.tracking import Tracker, TrackerConfig, frame_pass
from uniref_model.tracking.frame_fit import FrameGeometry

PIXELS = 5e-4  # share of a label map's pixels that rounding may flip


@dataclass(frozen=True)
class GoldenGeometry(FrameGeometry):
    """Golden images are handed over at model size, so the frame itself only says which one it is."""

    images = None  # uint8 [T, h, w, 3]

    @classmethod
    def fit(cls, frame, model, resize="stretch"):
        assert resize == "shortest_edge"
        return cls(frame, model, 0, 0, *cls.images.shape[1:3])

    def image_to_model(self, image, fill):
        canvas = np.full((*self.model, 3), 77, np.uint8)  # whatever stands there: padding is masked out
        canvas[self.inside] = self.images[image[0, 0, 0]]
        return canvas


class Video:
    """A golden video case over a runtime of its padded size."""

    def __init__(self, golden: Golden, monkeypatch) -> None:
        self.golden = golden
        self.images = golden.whole("in.images")
        self.frame = golden.meta["OH"], golden.meta["OW"]
        monkeypatch.setattr(GoldenGeometry, "images", self.images)
        monkeypatch.setattr(frame_pass, "FrameGeometry", GoldenGeometry)
        size = tuple(-(-side // 32) * 32 for side in self.images.shape[1:3])
        self.runtime = TorchRuntime(
            golden_port.model_for(golden, double=False), size=size, tokenizer=self.ids
        )

    def ids(self, prompt: str):
        number = [text.lower() for text in self.golden.meta["texts"]].index(prompt)
        ids = self.golden.whole(f"text{number}.ids").astype(np.int64)
        return ids, (ids != 0).astype(np.int64), False

    def given(self, index: int) -> list[np.ndarray]:
        """Masks that start in a frame, enlarged so that resizing them back gives the golden's pixels."""
        name = f"in.gt_masks.frame{index}"
        if name not in self.golden:
            return []
        height, width = self.images.shape[1:3]
        # the reverse of torch's nearest: each model pixel is read at floor(index * frame / model)
        rows, columns = (
            np.searchsorted(np.arange(model) * frame // model, np.arange(frame), side="right") - 1
            for frame, model in zip(self.frame, (height, width), strict=True)
        )
        return [mask[np.ix_(rows, columns)] > 0 for mask in self.golden.whole(name)]

    def labels(self, tracker: Tracker) -> np.ndarray:
        found = []
        for index in range(len(self.images)):
            for mask in self.given(index):
                tracker.add_mask(mask)
            found.append(tracker.step(np.full((*self.frame, 3), index, np.uint8)).label_image)
        return np.stack(found)

    def check(self, tag: str, labels: np.ndarray) -> None:
        wanted = self.golden.whole(f"final.{tag}")
        different = (labels != wanted).mean((1, 2))
        print(tag, "pixels that differ:", (labels != wanted).sum((1, 2)))
        assert wanted.any() and different.max() <= PIXELS, (tag, different)


@pytest.mark.parametrize("tag", ["ytbvos18", "davis17"])
def test_objects_given_by_masks(monkeypatch, tag):
    video = Video(Golden(golden_port.DATA / "d_r50.npz"), monkeypatch)
    config = TrackerConfig(reference_protocol="authors", mask_threshold=THRESHOLDS[tag], lost_after=1)
    video.check(tag, video.labels(Tracker(video.runtime, config)))


@pytest.mark.parametrize("number", [0, 1])
def test_objects_given_by_words(monkeypatch, number):
    video = Video(Golden(golden_port.DATA / "e_r50.npz"), monkeypatch)
    config = TrackerConfig(
        reference_protocol="authors", language_threshold=THRESHOLDS["refytvos"], lost_after=1
    )
    tracker = Tracker(video.runtime, config)
    tracker.add_text(video.golden.meta["texts"][number])
    video.check(f"refytvos_vl.exp{number}", video.labels(tracker))


def test_our_own_rules_lead_elsewhere(monkeypatch):
    """So the label maps above do tell the protocols apart."""
    video = Video(Golden(golden_port.DATA / "d_r50.npz"), monkeypatch)
    tracker = Tracker(video.runtime, TrackerConfig(mask_threshold=THRESHOLDS["davis17"]))
    labels = video.labels(tracker)
    assert (labels != video.golden.whole("final.davis17")).mean() > PIXELS
