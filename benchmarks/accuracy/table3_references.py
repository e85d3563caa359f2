"""Table 3 of the paper's supplement: which frames serve as references."""

from __future__ import annotations

from functools import partial

from uniref_model.runtime import load_runtime
from uniref_model.tracking import TrackerConfig
from uniref_model.tracking.config import REFERENCES

from ..registry import Options, Result
from .ablation import SIZE, Variant, draw, measure, table, verdict

CHOICE = "first+previous"
PAPER = {
    "YouTube-VOS18 (G)": {"first": 75.2, "previous": 79.2, "first+previous": 81.4},
    "Ref-YouTube-VOS": {"first": 60.1, "previous": 59.6, "first+previous": 60.6},
}


def run(options: Options) -> Result:
    """The shipped nano weights with each choice of references, on ONNX Runtime."""
    variants = [
        Variant(
            name,
            partial(load_runtime, "uniref_nano", SIZE, "onnxruntime", options.threads, options.device),
            TrackerConfig(references=name, reference_protocol="authors"),
        )
        for name in REFERENCES
    ]
    scores, notes = measure(variants, ("mask", "words"), options)
    header, rows, data = table(scores, REFERENCES)
    notes = [
        *verdict(data, CHOICE, "First and previous frame together are best"),
        *notes,
    ]
    title = "Table 3: reference frames, percent"
    return Result(
        {"scores": data, "paper": PAPER},
        {"": draw(data, REFERENCES, PAPER)},
        [(title, header, rows)],
        [],
        notes,
    )
