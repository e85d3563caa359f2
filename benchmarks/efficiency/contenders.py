"""The methods compared, behind one small interface: an image in, a label image out.

Peers come from PyPI (the `bench` extra) and run with random weights: speed and memory do not depend on what
the weights have learnt, and no weights are downloaded. Every network runs in float32.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from unittest import mock

import numpy as np

MEMORY_EVERY = 5
"""Frames between two entries in a peer's memory: the setting of STCN's, Cutie's and DeAOT-L's own papers."""


@dataclass(frozen=True)
class About:
    """What a reader should know of a contender. memory: "bounded" or "growing"."""

    key: str
    title: str
    weights: str
    memory: str
    package: str
    licence: str
    ours: bool = False

    @property
    def must_be_flat(self) -> bool:
        """Whether its cost per frame is promised not to grow, and it is quick enough to show it."""
        return self.ours and self.key.startswith("nano")

    @property
    def missing(self) -> bool:
        """Whether its package is not installed."""
        return find_spec(self.package) is None


ABOUT = {
    item.key: item
    for item in (
        About(
            "nano_onnx", "UniRef nano, ONNX Runtime", "shipped", "bounded", "onnxruntime", "Apache-2.0", True
        ),
        About("nano_torch", "UniRef nano, PyTorch", "shipped", "bounded", "torch", "Apache-2.0", True),
        About("r50_torch", "UniRef R50, PyTorch", "random", "bounded", "torch", "Apache-2.0", True),
        About("stcn", "STCN (R50)", "random", "growing", "stcnbuf", "MIT"),
        About("cutie", "Cutie base (R50)", "random", "bounded", "cutie", "MIT"),
        About("deaot", "DeAOT-L (R50)", "random", "growing", "aot", "BSD-3-Clause"),
    )
}


class Contender(ABC):
    """One method that follows objects. Used for one video after another: `start` forgets the last one."""

    @abstractmethod
    def start(self, image: np.ndarray, labels: np.ndarray, count: int) -> None:
        """The first frame, uint8 RGB [h,w,3], and its labels, uint8 [h,w], 1..count."""

    @abstractmethod
    def step(self, image: np.ndarray) -> np.ndarray:
        """The next frame's labels, an integer array [h,w]."""

    def forward(self, frames: int) -> bool:
        """Give a growing memory the entries that `frames` more frames would leave, without segmenting them.

        The entries are real ones, of the last frame, repeated: cost depends on how many there are, not on
        what they hold. Returns False for a method whose memory does not grow.
        """
        return False


def make(key: str, size: tuple[int, int], device: str, threads: int) -> Contender:
    """Build a contender. ImportError where its package is missing."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", category=FutureWarning)  # the peers' torch.cuda.amp
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    maker = {"stcn": Stcn, "cutie": Cutie, "deaot": DeAot}.get(key)
    if maker is not None:
        return maker(device)
    return Ours(key, size, device, threads)


class Ours(Contender):
    """`Tracker` over one of our runtimes.

    The runtime's answers are computed in full and then replaced by fixed boxes: so every object is seen in
    every frame, and every frame's reference is renewed, which is the most expensive case there is.
    """

    def __init__(self, key: str, size: tuple[int, int], device: str, threads: int) -> None:
        from ..runtimes import SteadyRuntime

        self._runtime = SteadyRuntime(self._load(key, size, device, threads))
        self._tracker = None

    @staticmethod
    def _load(key: str, size: tuple[int, int], device: str, threads: int):
        from uniref_model.runtime import load_runtime

        if key == "nano_onnx":
            return load_runtime("uniref_nano", size, "onnxruntime", threads, device)
        if key == "nano_torch":
            from ..runtimes import nano_weights

            return load_runtime(nano_weights(), size, "torch", threads, device)
        from uniref_model.network.config import ModelConfig
        from uniref_model.network.model import UniRef
        from uniref_model.runtime.pytorch import TorchRuntime

        network = UniRef(ModelConfig.from_name("uniref_r50"), with_text=False).eval()
        return TorchRuntime(network, size=size, threads=threads, device=device)

    def start(self, image: np.ndarray, labels: np.ndarray, count: int) -> None:
        from uniref_model.tracking import Tracker, TrackerConfig

        masks = [labels == value for value in range(1, count + 1)]
        self._runtime.hold(masks)
        config = TrackerConfig(max_objects=count, mask_threshold=0.0, min_area=1, recheck_every=0)
        self._tracker = Tracker(self._runtime, config)
        for mask in masks:
            self._tracker.add_mask(mask)
        self._tracker.step(image)

    def step(self, image: np.ndarray) -> np.ndarray:
        return self._tracker.step(image).label_image


class _Torch(Contender):
    """What the peers share: an image as a tensor, labels as numpy."""

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, device: str) -> None:
        self.device = device

    def tensor(self, image: np.ndarray, normalise: bool = True):
        """uint8 [h,w,3] -> f32 [1,3,h,w], ImageNet-normalised or in 0..1."""
        import torch

        x = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float() / 255
        if normalise:
            mean, std = (x.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
            x = (x - mean) / std
        return x

    def one_hot(self, labels: np.ndarray, count: int):
        """uint8 [h,w] -> f32 [count,1,h,w]."""
        import torch

        masks = np.stack([labels == value for value in range(1, count + 1)])
        return torch.from_numpy(masks).to(self.device).float()[:, None]


class Stcn(_Torch):
    """STCN: an entry in the memory bank every fifth frame, never dropped; 20 nearest entries are read."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        from uniref_model.network.torchvision_shim import prepare_torchvision

        prepare_torchvision()
        import torchvision.models as models

        plain = models.resnet50
        with (
            mock.patch("torch.utils.model_zoo.load_url", return_value={}),
            mock.patch.object(models, "resnet50", lambda **_: plain(weights=None)),
        ):
            from stcnbuf.model.eval_network import STCN, STCNInference

            network = STCN()
        self._model = STCNInference(network, np.inf, 1, 20, None).eval().to(device)
        self._index = 0

    def start(self, image: np.ndarray, labels: np.ndarray, count: int) -> None:
        from stcnbuf.inference_memory_bank import MemoryBank

        network, frame = self._model.prop_model, self.tensor(image)
        key, _, features, _, _ = network.encode_key(frame)
        value = network.encode_value(frame, features, self.one_hot(labels, count))
        self._model.memory_bank = MemoryBank(k=count, top_k=20)
        self._model.memory_bank.add_memory(key[0], value[:, 0])
        self._entry = key[0], value[:, 0]
        self._index = 0

    def step(self, image: np.ndarray) -> np.ndarray:
        self._index += 1
        keep = self._index % MEMORY_EVERY == 0
        probabilities = self._model.predict_batch(self.tensor(image), add_last_to_memory=keep)
        return probabilities[:, 0].argmax(0).cpu().numpy()

    def forward(self, frames: int) -> bool:
        key, value = self._entry
        bank = self._model.memory_bank
        entries = frames // MEMORY_EVERY
        bank.mem_k = self._grown(bank.mem_k, key.flatten(1)[None], entries)
        bank.mem_v = self._grown(bank.mem_v, value.flatten(2), entries)
        self._index += entries * MEMORY_EVERY
        return True

    @staticmethod
    def _grown(memory, entry, count: int):
        import torch

        return torch.cat([memory, entry.repeat(1, 1, count)], 2)


class Cutie(_Torch):
    """Cutie base as its own scripts set it up: five frames of working memory, renewed every fifth frame."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        with (
            mock.patch("torch.utils.model_zoo.load_url", return_value={}),
            mock.patch("cutie.model.utils.resnet.load_weights_add_extra_dim"),
        ):
            from cutie.model.cutie import CUTIE

            self._config = self._read_config()
            self._network = CUTIE(self._config).eval().to(device)
        self._core = None

    @staticmethod
    def _read_config():
        from importlib.resources import files

        from omegaconf import OmegaConf

        folder = files("cutie.config")
        values = OmegaConf.create((folder / "eval_config.yaml").read_text())
        for composed_by_hydra in ("hydra", "defaults"):
            values.pop(composed_by_hydra)
        values.model = OmegaConf.create((folder / "model" / "base.yaml").read_text())
        values.use_long_term, values.mem_every = False, MEMORY_EVERY
        return values

    def start(self, image: np.ndarray, labels: np.ndarray, count: int) -> None:
        import torch
        from cutie.inference.inference_core import InferenceCore

        self._core = InferenceCore(self._network, self._config)
        given = torch.from_numpy(labels.astype(np.int64)).to(self.device)
        self._core.step(self.tensor(image, False)[0], given, objects=list(range(1, count + 1)))

    def step(self, image: np.ndarray) -> np.ndarray:
        return self._core.step(self.tensor(image, False)[0]).argmax(0).cpu().numpy()


class DeAot(_Torch):
    """DeAOT-L: ten objects a pass; an entry in the long-term memory every fifth frame, never dropped.

    Without the optional `spatial-correlation-sampler` (CUDA only) its local attention is the slower one.
    """

    def __init__(self, device: str) -> None:
        super().__init__(device)
        with mock.patch("builtins.print"):  # it reports the missing sampler once a layer
            from aot.configs.models.r50_deaotl import ModelConfig
            from aot.networks.models import build_vos_model

            config = ModelConfig()
            rates = ("EMB_DROPOUT", "ID_DROPOUT", "DROPPATH", "LT_DROPOUT", "ST_DROPOUT")
            vars(config).update({f"TRAIN_LSTT_{name}": 0.0 for name in rates})
            vars(config).update(
                TRAIN_ENCODER_FREEZE_AT=2, TRAIN_LSTT_DROPPATH_SCALING=False, TRAIN_LSTT_DROPPATH_LST=False
            )
            self._network = build_vos_model(config.MODEL_VOS, config).eval().to(device)
        self._engine = None

    def start(self, image: np.ndarray, labels: np.ndarray, count: int) -> None:
        import torch
        from aot.networks.engines import build_engine

        kind = {"short_term_mem_skip": 1, "long_term_mem_gap": MEMORY_EVERY}
        self._engine = build_engine(
            "deaotengine", phase="eval", aot_model=self._network, gpu_id=0, **kind
        ).eval()
        given = torch.from_numpy(labels).to(self.device).float()[None, None]
        self._engine.add_reference_frame(self.tensor(image), given, obj_nums=count, frame_step=0)

    def step(self, image: np.ndarray) -> np.ndarray:
        engine = self._engine
        engine.match_propogate_one_frame(self.tensor(image))
        labels = engine.decode_current_logits(image.shape[:2]).argmax(1, keepdim=True)
        engine.update_memory(labels.float())
        return labels[0, 0].cpu().numpy()

    def forward(self, frames: int) -> bool:
        import torch

        entries = frames // MEMORY_EVERY
        for part in self._engine.aot_engines:
            tokens = part.enc_hw

            def grown(memory, tokens: int = tokens):
                if memory is None:
                    return None
                return torch.cat([memory[:tokens].repeat(entries, *[1] * (memory.dim() - 1)), memory])

            part.long_term_memories = [[grown(item) for item in layer] for layer in part.long_term_memories]
            part.frame_step += entries * MEMORY_EVERY
            part.last_mem_step += entries * MEMORY_EVERY
        return True


def choose(keys: Sequence[str]) -> tuple[list[About], list[About]]:
    """Of these contenders, those that are installed and those that are not."""
    wanted = [ABOUT[key] for key in keys]
    return [item for item in wanted if not item.missing], [item for item in wanted if item.missing]
