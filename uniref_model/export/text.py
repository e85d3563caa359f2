"""The text encoder as a graph: MiniLM-L6 with int8-stored weights, optionally followed by the resizer.

Training and deployment read words through the same quantised weights, so nothing is lost between the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from uniref_model.export.weights import save_with_weights, store_half, store_int8, strip
from uniref_model.runtime.contract import ENCODE_TEXT, describe

TEXT = describe(projected=False, nouns=False, looks=False, shared=False, text=True)[ENCODE_TEXT]


class HiddenStates(nn.Module):
    """ids, mask [1,L] int64 -> last hidden state [1,L,Dt] (no pooling)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


class WordsAndSentence(nn.Module):
    """ids, mask [1,L] int64 -> words [1,L,C], sentence [1,C], and noun [1,D+1] where the model looks for
    nouns: text encoder, then `UniRef.embed_words`."""

    def __init__(self, encoder: nn.Module, embed_words: nn.Module) -> None:
        super().__init__()
        self.hidden = HiddenStates(encoder)
        self.embed_words = embed_words

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        language = self.embed_words(self.hidden(input_ids, attention_mask), attention_mask)
        parts = (language.words, language.sentence, language.noun)
        return tuple(part for part in parts if part is not None)


def export_text(
    module: nn.Module,
    path: Path,
    outputs: list[str],
    max_words: int,
    weights_name: str,
    storage: str = "int8",
    trained: Iterable[Tensor] = (),
) -> None:
    """Export a text module with static length `max_words`, its large matrices stored as "int8", "fp16" or
    "fp32"; it computes in float32. trained: what stays in the graph's own file, so that the large one beside
    it is the same after every training."""
    ids = torch.ones(1, max_words, dtype=torch.int64)
    program = torch.onnx.export(
        module.eval(),
        (ids, torch.ones_like(ids)),
        dynamo=True,
        opset_version=18,
        optimize=True,
        verbose=False,
        input_names=[port.name for port in TEXT.inputs],
        output_names=outputs,
    )
    model = strip(program.model_proto)
    if storage == "int8":
        store_int8(model)
    elif storage == "fp16":
        store_half(model)
    save_with_weights(model, path, weights_name, [tensor.detach().numpy() for tensor in trained])
