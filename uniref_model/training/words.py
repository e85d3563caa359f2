"""Hidden states of expressions through the quantised text graph, each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uniref_model.export.text import HiddenStates, export_text
from uniref_model.network.text import load_minilm, minilm_folder
from uniref_model.runtime.text import PromptTokenizer, normalise_prompt


class WordCache:
    """Texts -> (hidden [N,L,D] float32, attention [N,L] int64) by the same int8 graph that is deployed.

    Every text is run once and kept as float16; a few thousand expressions are some 100 MB.
    """

    def __init__(self, folder: Path, max_words: int, threads: int = 1) -> None:
        import onnxruntime

        graph = folder / f"hidden_{max_words}.onnx"
        if not graph.exists():
            export_text(HiddenStates(load_minilm()), graph, ["hidden"], max_words, f"hidden_{max_words}.bin")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._tokenizer = PromptTokenizer(minilm_folder() / "tokenizer.json", max_words)
        self._known: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Hidden states and attention of `texts`, in order."""
        rows = [self._encode(normalise_prompt(text)) for text in texts]
        hidden = np.stack([row[0] for row in rows]).astype(np.float32)
        return torch.from_numpy(hidden), torch.from_numpy(np.stack([row[1] for row in rows]))

    def _encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        if text not in self._known:
            ids, attention, _ = self._tokenizer(text)
            hidden = self._session.run(None, {"input_ids": ids, "attention_mask": attention})[0]
            self._known[text] = hidden[0].astype(np.float16), attention[0]
        return self._known[text]
