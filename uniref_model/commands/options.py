"""Options that several commands have, declared once, and what their texts mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UniRefError

Model = Annotated[
    str, typer.Option(help="A model's name or folder (see 'uniref info'), or a .safetensors file.")
]
Size = Annotated[
    str | None,
    typer.Option(help="Model size, height x width, such as 192x320; the model's first if left out."),
]
RuntimeName = Annotated[str, typer.Option(help="auto, onnxruntime, openvino, tensorrt or torch.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or Intel's gpu or npu through OpenVINO.")]
Precision = Annotated[
    str,
    typer.Option(help="auto, fp32, fp16 or bf16: refused where the runtime, the device or its check does."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; chosen by default.")]
Fusion = Annotated[
    str | None,
    typer.Option(
        help="How words and masks fuse, if not as the file says: parallel, parallel_multiply, "
        "mask_then_language or language_then_mask. For .safetensors models."
    ),
]
INSTALL_TRAIN = "from a checkout, pip install -e '.[train]'"
"""How the laboratory comes: the rooms that robots do not install, and the packages that it needs."""

KnownFolder = Annotated[
    Path | None,
    typer.Option(
        "--known", help="Folder of known objects; uniref_ros/known_objects in your data folder if left out."
    ),
]
MASK_REFERENCES = "Which masks of the past to use: first, previous or first+previous."


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "256x448". Raises UniRefError."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UniRefError(f"the size {text!r} is not HEIGHTxWIDTH, such as 256x448")
    return int(parts[0]), int(parts[1])


def parse_counts(text: str) -> tuple[int, ...]:
    """(1, 2, 4) of "1,2,4", sorted. Raises UniRefError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UniRefError(f"objects are {text!r}, expected numbers such as 1,2,4,8")
    return tuple(sorted({int(part) for part in parts}))
