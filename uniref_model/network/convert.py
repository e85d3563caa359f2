"""The authors' checkpoints (detectron2) under our key names, every key accounted for."""

from __future__ import annotations

import fnmatch
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from uniref_model.errors import ModelFileError
from uniref_model.network.config import ModelConfig

ROBERTA_VOCABULARY = 50265

# Keys of the authors' files that inference does not need. Each is dropped, and reported as dropped.
UNUSED = (
    r"criterion\..*",  # loss state
    r".*\.num_batches_tracked",
    r".*\.relative_position_index",  # a constant table
    r"text_encoder\.embeddings\.position_ids",  # written by older transformers only
    r"text_encoder\.pooler\..*",
)

# The heads are registered twice in the authors' model: under the detector and under its decoder, the same
# values.
ALIASES = (r"detr\.detr\.transformer\.decoder\.((?:bbox|class)_embed\..*)", r"detr.detr.\1")

# authors' name -> ours; the first pattern that matches the whole key counts
_RENAMES = [
    (r"detr\.detr\.backbone\.0\.backbone\.norm(\d)\.(.*)", r"backbone.body.norms.\1.\2"),
    (r"detr\.detr\.backbone\.0\.backbone\.stem\.conv1\.norm\.(.*)", r"backbone.body.bn1.\1"),
    (r"detr\.detr\.backbone\.0\.backbone\.stem\.conv1\.(.*)", r"backbone.body.conv1.\1"),
    (
        r"detr\.detr\.backbone\.0\.backbone\.res(\d)\.(\d+)\.shortcut\.norm\.(.*)",
        r"backbone.body.layer{1-1}.\2.downsample.1.\3",
    ),
    (
        r"detr\.detr\.backbone\.0\.backbone\.res(\d)\.(\d+)\.shortcut\.(.*)",
        r"backbone.body.layer{1-1}.\2.downsample.0.\3",
    ),
    (
        r"detr\.detr\.backbone\.0\.backbone\.res(\d)\.(\d+)\.conv(\d)\.norm\.(.*)",
        r"backbone.body.layer{1-1}.\2.bn\3.\4",
    ),
    (r"detr\.detr\.backbone\.0\.backbone\.res(\d)\.(\d+)\.(conv\d\..*)", r"backbone.body.layer{1-1}.\2.\3"),
    (r"detr\.detr\.backbone\.0\.backbone\.(.*)", r"backbone.body.\1"),
    (r"detr\.detr\.transformer\.level_embed", r"level_embed"),
    (r"detr\.detr\.transformer\.((?:encoder|decoder)\..*)", r"\1"),
    (
        r"detr\.detr\.transformer\.((?:enc_output|enc_output_norm|pos_trans|pos_trans_norm)\..*)",
        r"two_stage.\1",
    ),
    (r"detr\.detr\.((?:input_proj|query_embed|class_embed|bbox_embed)\..*)", r"\1"),
    (r"detr\.((?:lateral_conv|output_conv|mask_conv|controller)\..*)", r"mask_head.\1"),
    (r"detr\.mask_head\.jia_dcn\.(.*)", r"mask_head.dcn.\1"),
    (r"detr\.(mask_head\..*)", r"\1"),
    (r"detr\.fusion_module\.adaLN_modulation\.1\.(.*)", r"fusion.modulation.\1"),
    (r"detr\.fusion_module\.(.*)", r"fusion.\1"),
    (r"value_encoder\.layer(\d)\.(.*)", r"value_encoder.layers.{1-1}.\2"),
    (
        r"value_encoder\.fuser(\d)\.attention\.ChannelGate\.mlp\.1\.(.*)",
        r"value_encoder.fusers.{1-2}.attention.mlp.0.\2",
    ),
    (
        r"value_encoder\.fuser(\d)\.attention\.ChannelGate\.mlp\.3\.(.*)",
        r"value_encoder.fusers.{1-2}.attention.mlp.2.\2",
    ),
    (
        r"value_encoder\.fuser(\d)\.attention\.SpatialGate\.spatial\.conv\.(.*)",
        r"value_encoder.fusers.{1-2}.attention.spatial.\2",
    ),
    (r"value_encoder\.fuser(\d)\.(.*)", r"value_encoder.fusers.{1-2}.\2"),
    (r"((?:value_encoder|resizer|text_encoder)\..*)", r"\1"),
]


@dataclass(frozen=True)
class ConversionReport:
    """What became of a checkpoint's keys."""

    source: Path
    output: Path
    model: str
    text_encoder: str
    converted: int  # tensors written
    parameters: int  # numbers in them
    duplicates: int  # second registrations of the heads, equal to the first
    unused: tuple[str, ...]  # keys dropped because inference does not need them
    allowed: tuple[str, ...]  # keys dropped because the caller said so

    def __str__(self) -> str:
        dropped = len(self.unused) + len(self.allowed)
        return (
            f"{self.source.name} -> {self.output}: {self.model} with {self.text_encoder}, "
            f"{self.converted} tensors, {self.parameters / 1e6:.2f} M numbers; "
            f"{self.duplicates} duplicates, {dropped} unused keys left out"
        )


@dataclass
class Renamed:
    """A state dict under our names, and what was left out of it."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    duplicates: int = 0
    unused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def our_key(key: str) -> str | None:
    """The authors' key -> ours, None for a key no part of the model has."""
    for pattern, replacement in _RENAMES:
        if match := re.fullmatch(pattern, key):
            # "{1-2}" stands for the first group minus two: the authors count layers from 1, fusers and
            # stages from 2
            if shift := re.search(r"\{1-(\d)\}", replacement):
                replacement = replacement.replace(shift[0], str(int(match[1]) - int(shift[1])))
            return match.expand(replacement)
    return None


def rename(source: Mapping[str, Tensor]) -> Renamed:
    """A state dict of the authors' -> ours. Raises ModelFileError where the two copies of a head differ."""
    result = Renamed()
    for key, value in source.items():
        first = re.sub(ALIASES[0], ALIASES[1], key)
        if first != key and first in source:
            if not torch.equal(source[first], value):
                raise ModelFileError(f"{key} differs from {first}; in the authors' model they are one tensor")
            result.duplicates += 1
        elif any(re.fullmatch(pattern, key) for pattern in UNUSED):
            result.unused.append(key)
        elif (ours := our_key(first)) is None:
            result.unknown.append(key)
        else:
            result.weights[ours] = value
    return result


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a .pth file, whether wrapped as {"model": ...} or bare, with or without "module."
    prefixes.

    Nothing but tensors and plain containers is unpickled. Raises ModelFileError naming what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path}: holds objects other than tensors and plain values, which are not loaded because "
            f"loading them could run code, or is no checkpoint at all ({_first_line(error)})"
        ) from error
    except (
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        IndexError,
        UnicodeDecodeError,
    ) as error:
        raise ModelFileError(
            f"{path}: truncated or not a PyTorch checkpoint ({_first_line(error)})"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not content:
        raise ModelFileError(f"{path}: expected a dict of tensors, found {type(content).__name__}")
    wrong = [
        key for key, value in content.items() if not isinstance(key, str) or not isinstance(value, Tensor)
    ]
    if wrong:
        raise ModelFileError(f"{path}: {wrong[0]!r} is not a tensor; expected a dict of tensors")
    if all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return content


def convert_checkpoint(
    path: str | Path, model_name: str, output: str | Path, allow: Iterable[str] = ()
) -> ConversionReport:
    """Write an authors' checkpoint as safetensors for the model config `model_name`.

    Which text encoder the file has is read off its vocabulary. allow: shell patterns of the authors' keys
    that may be dropped although nothing is known about them. Raises ModelFileError listing every key that
    is missing, extra or of the wrong shape; nothing is written then.
    """
    from dataclasses import replace

    from uniref_model.network.loading import save_weights

    path, output = Path(path), Path(output)
    renamed = rename(read_checkpoint(path))
    config = ModelConfig.from_name(model_name)
    config = replace(config, text=replace(config.text, encoder=_text_encoder_of(renamed.weights, config)))
    allowed = [key for key in renamed.unknown if any(fnmatch.fnmatchcase(key, pattern) for pattern in allow)]
    extra = [key for key in renamed.unknown if key not in allowed]
    _compare(path, expected_shapes(config), renamed.weights, extra)
    save_weights(renamed.weights, config, output)
    return ConversionReport(
        source=path,
        output=output,
        model=model_name,
        text_encoder=config.text.encoder,
        converted=len(renamed.weights),
        parameters=sum(value.numel() for value in renamed.weights.values()),
        duplicates=renamed.duplicates,
        unused=tuple(renamed.unused),
        allowed=tuple(allowed),
    )


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor a model file must have."""
    from uniref_model.network.model import UniRef

    with torch.device("meta"):
        model = UniRef(config)
    return {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }


def _text_encoder_of(weights: Mapping[str, Tensor], config: ModelConfig) -> str:
    words = weights.get("text_encoder.embeddings.word_embeddings.weight")
    if words is None:
        return config.text.encoder  # the comparison will list what is missing
    return "roberta-base" if words.shape[0] == ROBERTA_VOCABULARY else config.text.encoder


def _compare(
    path: Path, expected: dict[str, tuple[int, ...]], found: Mapping[str, Tensor], extra: list[str]
) -> None:
    missing = sorted(set(expected) - set(found))
    # the rename rules accept any index, so a deeper model's layers show up here
    extra = sorted([*extra, *(set(found) - set(expected))])
    misshapen = [
        f"{key}: expected {expected[key]}, found {tuple(found[key].shape)}"
        for key in sorted(set(expected) & set(found))
        if tuple(found[key].shape) != expected[key]
    ]
    if not (missing or extra or misshapen):
        return
    parts = [f"{path}: does not fit this model"]
    for title, names in (("missing", missing), ("not known", extra), ("of another shape", misshapen)):
        if names:
            parts.append(f"{len(names)} {title}:\n  " + "\n  ".join(names))
    raise ModelFileError("\n".join(parts))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
