"""What a stage starts from: a model file, or ImageNet weights and a published text encoder."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from uniref_model.errors import ModelFileError
from uniref_model.network.config import ModelConfig
from uniref_model.network.loading import has_text_encoder, load_weights, read_config
from uniref_model.network.model import UniRef
from uniref_model.network.tensors import opened, read_weights
from uniref_model.runtime.text import PromptTokenizer
from uniref_model.training.paper.config import StageConfig
from uniref_model.training.start import freeze

WORDPIECE = ("bert-base", "minilm-l6")
"""Text encoders that share BERT's uncased vocabulary, which the package carries."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartOptions:
    """init: a .safetensors model file, of an earlier stage or of `uniref convert`. backbone: ImageNet weights
    (.pth or .safetensors of timm, torchvision or Swin). text: folder of a published text encoder
    (config.json, model.safetensors, tokenizer.json)."""

    init: Path | None = None
    backbone: Path | None = None
    text: Path | None = None


def model_config(config: StageConfig) -> ModelConfig:
    """The stage's model: a name from config/models or a YAML file, with the stage's text encoder."""
    path = Path(config.model)
    by_file = path.suffix in (".yaml", ".yml")
    model = ModelConfig.from_yaml(path) if by_file else ModelConfig.from_name(config.model)
    if not config.text_encoder:
        return model
    return replace(model, text=replace(model.text, encoder=config.text_encoder))


def build_network(config: StageConfig, options: StartOptions) -> UniRef:
    """The network with its start weights; parts that none are given for start at random, with a warning.

    Raises ModelFileError or ValueError naming the file that does not fit.
    """
    wanted = model_config(config)
    torch.manual_seed(config.seed)
    has_words = options.init is not None and has_text_encoder(options.init)
    if has_words and read_config(options.init).text.encoder != wanted.text.encoder:
        found = read_config(options.init).text.encoder
        raise ModelFileError(
            f"{options.init} has the text encoder {found}, the stage wants {wanted.text.encoder}: "
            f"set text_encoder to {found}"
        )
    network = UniRef(wanted, with_text=config.uses_words or has_words)
    if options.init is not None:
        _load_init(network, options.init, has_words)
    if options.backbone is not None:
        load_backbone(network, options.backbone)
    elif options.init is None:
        _log.warning("the backbone %s starts from random weights", wanted.backbone.name)
        _open_residuals(network)
    if network.text_encoder is not None:
        if options.text is not None:
            load_text(network, options.text)
        elif not has_words:
            _log.warning("the text encoder %s starts from random weights", wanted.text.encoder)
    freeze(network.backbone.body, config.frozen_backbone)
    return network


def resumed_network(config: StageConfig, checkpoint: Path) -> UniRef:
    """The network that a checkpoint's weights fit; they are loaded with the rest of the run's state."""
    with opened(checkpoint / "model.safetensors") as file:
        words = any(".text_encoder." in key for key in file.keys())  # noqa: SIM118 - it is no dict
    network = UniRef(model_config(config), with_text=words)
    freeze(network.backbone.body, config.frozen_backbone)
    return network


def open_tokenizer(
    config: StageConfig, options: StartOptions, resumed: Path | None = None
) -> tuple[PromptTokenizer, Path]:
    """The text encoder's tokenizer and its file: from the text folder, the folder of a resumed run, from
    beside the init weights, or, for BERT's vocabulary, the package's own. Raises ModelFileError where there
    is none."""
    model = model_config(config)
    places = [folder / "tokenizer.json" for folder in (options.text, resumed) if folder is not None]
    if options.init is not None:
        places.append(options.init.parent / "tokenizer.json")
    if model.text.encoder in WORDPIECE:
        places.append(Path(__file__).resolve().parents[2] / "weights" / "uniref_nano" / "tokenizer.json")
    for path in places:
        if path.is_file():
            return PromptTokenizer(path, model.text.max_words), path
    raise ModelFileError(
        f"no tokenizer.json for {model.text.encoder}: give the folder of the published encoder"
        + (f" (looked for {', '.join(str(path) for path in places)})" if places else "")
    )


def load_backbone(network: UniRef, path: Path) -> None:
    """Load classifier weights into the backbone; its head is left out. Raises ModelFileError naming what is
    missing or misshapen."""
    weights = _read_state(path)
    own = network.backbone.body.state_dict()
    # made by the detection Swin itself: output norms and tables that follow from the window
    free = ("norms.", "relative_position_index", "num_batches_tracked", "attn_mask")
    missing = sorted(key for key in own if key not in weights and not any(part in key for part in free))
    if missing:
        raise ModelFileError(f"{path}: {len(missing)} backbone weights are missing, first {missing[0]!r}")
    taken = {key: value for key, value in weights.items() if key in own}
    for key, value in taken.items():
        if value.shape != own[key].shape:
            raise ModelFileError(
                f"{path}: {key} has shape {tuple(value.shape)}, expected {tuple(own[key].shape)}"
            )
    network.backbone.body.load_state_dict(taken, strict=False)


def load_text(network: UniRef, folder: Path) -> None:
    """Load a published text encoder (Hugging Face layout) from a local folder. Raises ModelFileError."""
    if not (folder / "config.json").is_file():
        raise ModelFileError(f"missing file {folder / 'config.json'}: expected a published text encoder")
    kind = type(network.text_encoder)
    try:
        published = kind.from_pretrained(folder, add_pooling_layer=False, local_files_only=True)
        network.text_encoder.load_state_dict(published.state_dict(), strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        encoder = network.config.text.encoder
        raise ModelFileError(f"{folder}: not the weights of {encoder}: {error}") from error


def _open_residuals(network: UniRef) -> None:
    """Let residual branches of a random backbone through. timm starts their last norm at zero, to be learned;
    frozen, it would hold them shut for ever."""
    with torch.no_grad():
        for name, value in network.backbone.body.named_buffers():
            if name.endswith(".weight") and not value.any():
                value.fill_(1.0)


def _load_init(network: UniRef, path: Path, has_words: bool) -> None:
    weights = read_weights(path)
    if network.text_encoder is not None and not has_words:
        weights |= {
            key: value for key, value in network.state_dict().items() if key.startswith("text_encoder.")
        }
    load_weights(network, weights, str(path))


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return read_weights(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ModelFileError(f"{path}: not a file of weights ({str(error).splitlines()[0]})") from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ModelFileError(f"{path}: expected a dict of tensors")
    return content
