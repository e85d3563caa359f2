"""Table 2 of the paper's supplement: how language and mask references are fused."""

from __future__ import annotations

from functools import partial

from uniref_model.network.config import FUSION_MODES
from uniref_model.tracking import TrackerConfig

from ..registry import Options, Result
from ..runtimes import open_nano
from .ablation import SIZE, Variant, draw, measure, table, verdict

CHOICE = "parallel"
ORDER = (*(mode for mode in FUSION_MODES if mode != CHOICE), CHOICE)
PAPER = {
    "Ref-YouTube-VOS": {"mask_then_language": 13.8, "language_then_mask": 9.5, "parallel": 60.1},
}


def run(options: Options) -> Result:
    """The shipped nano weights with each way of fusing."""
    config = TrackerConfig(reference_protocol="authors")
    variants = [
        Variant(mode, partial(open_nano, SIZE, options.threads, options.device, mode), config)
        for mode in ORDER
    ]
    scores, notes = measure(variants, ("words", "words+mask"), options)
    header, rows, data = table(scores, ORDER)
    notes = [
        *verdict(data, CHOICE, "Parallel fusion is best"),
        "The comparison is biased: the weights were trained with parallel fusion and run with the others "
        "without training for them. The paper does not say whether its variants were trained anew.",
        "Table 2 of the paper draws parallel as a product (here parallel_multiply); the authors' released "
        "code adds (here parallel), and so do we.",
        *notes,
    ]
    title = "Table 2: fusion of words and masks, percent"
    return Result(
        {"scores": data, "paper": PAPER}, {"": draw(data, ORDER, PAPER)}, [(title, header, rows)], [], notes
    )
