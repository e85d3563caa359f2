"""ImageNet's nouns: the backbone's own classifier teaches which words belong to which pixels.

EfficientNet-Lite0 comes with 1000 class vectors. Applied to every cell of its last map, frozen, they say of
any picture where in it each class is likely. Here the model's pixels and the sentences of class names are
brought to agree with that, in the space in which `AlignmentHead` compares pixels and phrases: so a noun that
no training object bears still lies near what it names. Teaching only: nothing of this is exported.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniref_model.network.backbone import load_efficientnet_lite0
from uniref_model.network.torchvision_shim import import_timm
from uniref_model.training.auxiliary import AlignmentHead
from uniref_model.training.pretrained import LITE0_PACKAGE

CLASSES = 1000
LEVEL = 2  # the feature level on the classifier's own grid (stride 32)
VOCABULARY = 96  # names compared in one step: the likeliest ones and a few others
STRANGERS = 32

# What people say where ImageNet has many classes. Its numbers are ordered by kind, inclusive ranges here.
GROUPS: dict[str, tuple[tuple[int, int], ...]] = {
    "fish": ((0, 6), (389, 397)),
    "bird": ((7, 24), (80, 100), (127, 146)),
    "frog": ((30, 32),),
    "turtle": ((33, 37),),
    "lizard": ((38, 48),),
    "snake": ((52, 68),),
    "spider": ((72, 77),),
    "crab": ((118, 121),),
    "dog": ((151, 268),),
    "wolf": ((269, 271),),
    "fox": ((277, 280),),
    "cat": ((281, 285),),
    "bear": ((294, 297),),
    "beetle": ((300, 307),),
    "butterfly": ((321, 326),),
    "rabbit": ((330, 332),),
    "monkey": ((369, 382),),
    "ape": ((365, 368),),
    "car": (
        (436, 436),
        (468, 468),
        (479, 479),
        (511, 511),
        (609, 609),
        (627, 627),
        (656, 656),
        (751, 751),
        (817, 817),
    ),
    "truck": ((555, 555), (569, 569), (717, 717), (864, 864), (867, 867)),
    "bus": ((654, 654), (779, 779), (874, 874)),
    "bicycle": ((444, 444), (671, 671)),
    "airplane": ((404, 404), (895, 895)),
    "boat": ((472, 472), (554, 554), (576, 576), (625, 625), (814, 814)),
    "ship": ((403, 403), (510, 510), (628, 628)),
    "train": ((466, 466), (547, 547), (820, 820)),
    "chair": ((423, 423), (559, 559), (765, 765)),
    "bottle": ((440, 440), (720, 720), (737, 737), (898, 898), (907, 907)),
    "cup": ((504, 504), (968, 968)),
    "clock": ((409, 409), (530, 530), (892, 892)),
    "telephone": ((487, 487), (528, 528), (707, 707)),
    "guitar": ((402, 402), (546, 546)),
    "piano": ((579, 579), (881, 881)),
    "keyboard": ((508, 508), (878, 878)),
    "computer": ((527, 527), (590, 590), (620, 620), (681, 681)),
    "bowl": ((659, 659), (809, 809)),
    "mushroom": ((947, 947), (991, 997)),
    "flower": ((985, 986),),
}

# The same by the classes' names: what of COCO's 80 names and of a household is not among the above.
NAMED_GROUPS: dict[str, tuple[str, ...]] = {
    "person": (
        "ballplayer",
        "groom",
        "scuba diver",
        "academic gown",
        "jersey",
        "suit",
        "sweatshirt",
        "jean",
        "kimono",
        "lab coat",
        "miniskirt",
        "abaya",
        "sarong",
    ),
    "horse": ("sorrel",),
    "cow": ("ox", "water buffalo"),
    "sheep": ("ram", "bighorn"),
    "pig": ("hog", "wild boar"),
    "elephant": ("indian elephant", "african elephant", "tusker"),
    "motorcycle": ("moped", "motor scooter"),
    "couch": ("studio couch",),
    "table": ("dining table", "desk"),
    "tv": ("television", "screen", "monitor"),
    "laptop computer": ("laptop", "notebook"),
    "cell phone": ("cellular telephone",),
    "fridge": ("refrigerator",),
    "potted plant": ("pot",),
    "bag": ("plastic bag", "purse", "mailbag", "backpack"),
    "ball": (
        "soccer ball",
        "basketball",
        "tennis ball",
        "rugby ball",
        "volleyball",
        "croquet ball",
        "golf ball",
        "ping-pong ball",
        "baseball",
    ),
    "shoe": ("running shoe", "loafer", "clog", "sandal"),
    "hat": ("cowboy hat", "sombrero", "bonnet", "bearskin"),
    "helmet": ("crash helmet", "football helmet"),
    "knife": ("cleaver", "letter opener"),
    "spoon": ("wooden spoon", "ladle"),
    "toy bear": ("teddy",),
    "building": ("church", "palace", "castle", "mosque", "monastery", "library", "barn"),
    "fruit": ("granny smith", "strawberry", "orange", "lemon", "fig", "pineapple", "banana", "pomegranate"),
}
# Words that cover classes of many other groups; numbers as in GROUPS.
WIDE_GROUPS: dict[str, tuple[tuple[int, int], ...]] = {"animal": ((0, 397),)}

_log = logging.getLogger(__name__)


def class_names() -> list[str]:
    """ImageNet's 1000 classes, each by the first of its names, lower case."""
    import_timm()
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(index).split(",")[0].lower() for index in range(CLASSES)]


def vocabularies(names: list[str]) -> tuple[list[str], Tensor]:
    """All words (class names, then groups), and which classes a word covers, float [words, classes].

    A name that is also a group's (there is a class "cup" and a group "cup") is the group's word only.
    """
    numbered = {
        word: [number for first, last in ranges for number in range(first, last + 1)]
        for word, ranges in (GROUPS | WIDE_GROUPS).items()
    }
    named = {word: [names.index(member) for member in members] for word, members in NAMED_GROUPS.items()}
    groups = [*GROUPS, *NAMED_GROUPS, *WIDE_GROUPS]
    cover = torch.zeros(len(names) + len(groups), len(names))
    cover[: len(names)] = torch.eye(len(names))
    for row, word in enumerate(groups, len(names)):
        cover[row, (numbered | named)[word]] = 1
    return [*names, *groups], cover


class ClassTeacher(nn.Module):
    """The whole, frozen classifier, applied to every cell. weights: under timm's names; None: made up."""

    def __init__(self, weights: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.body = import_timm().create_model("tf_efficientnet_lite0", pretrained=False)
        if weights is not None:
            self.body.load_state_dict(weights)
        self.body.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> ClassTeacher:
        """Stays in evaluation mode: its norms must not move."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """images [F,3,H,W], normalised as the model's own -> class probabilities [F,1000,H/32,W/32]."""
        features = self.body.forward_features(images)
        head = self.body.classifier
        logits = F.conv2d(features, head.weight[:, :, None, None], head.bias)
        return logits.softmax(1)


def load_teacher(backbone: str) -> ClassTeacher | None:
    """The teacher for a backbone, or None (with a warning) where its classifier is not at hand."""
    spec = importlib.util.find_spec(LITE0_PACKAGE)
    if backbone != "tf_efficientnet_lite0" or spec is None or spec.origin is None:
        _log.warning("class names are not taught: no classifier for backbone %s", backbone)
        return None
    path = next((Path(spec.origin).parent / "models").glob("efficientnet-lite0-*.pth"))
    return ClassTeacher(load_efficientnet_lite0(path))


class ClassNames(nn.Module):
    """Loss between the teacher's classes and the model's own comparison of pixels with their names.

    hidden [W,L,D], attention [W,L]: the words of `vocabularies` through the text encoder.
    """

    def __init__(self, teacher: ClassTeacher, cover: Tensor, hidden: Tensor, attention: Tensor) -> None:
        super().__init__()
        self.teacher = teacher
        self.register_buffer("cover", cover, persistent=False)
        self.register_buffer("hidden", hidden.half(), persistent=False)
        self.register_buffer("attention", attention, persistent=False)

    def forward(self, network: nn.Module, align: AlignmentHead, images: Tensor, level: Tensor) -> Tensor:
        """images [F,3,H,W] normalised, level: their features [F,C,H/32,W/32] -> cross-entropy, a scalar."""
        expected = self.teacher(images)
        expected = F.interpolate(expected, level.shape[-2:], mode="area").flatten(2)  # [F, 1000, S]
        rows = self._choose(expected.mean((0, 2)))
        share = torch.einsum("wc,fcs->fws", self.cover[rows], expected)
        known = share.sum(1)  # how much of the teacher's opinion these words can express
        language = network.embed_words(self.hidden[rows].float(), self.attention[rows])
        logits = align.compare(LEVEL, level, language.sentence).flatten(2)
        entropy = -(share / known.clamp(min=1e-6)[:, None] * logits.log_softmax(1)).sum(1)
        return (entropy * known).mean()

    def _choose(self, mean: Tensor) -> Tensor:
        """Words of this step: coarse or fine names of the likeliest classes, and some of no account."""
        classes = self.cover.shape[1]
        grouped = self.cover[classes:].sum(0) > 0
        coarse = bool(torch.rand(()) < 0.5)
        if coarse:
            weight = torch.cat((mean * ~grouped, self.cover[classes:] @ mean))
            usable = torch.cat((~grouped, torch.ones(len(weight) - classes, dtype=torch.bool)))
        else:
            weight, usable = mean, torch.ones(classes, dtype=torch.bool)
        likely = weight.topk(VOCABULARY - STRANGERS).indices
        others = usable.clone()
        others[likely] = False
        strangers = others.nonzero()[:, 0]
        return torch.cat((likely, strangers[torch.randperm(len(strangers))[:STRANGERS]]))
