"""Where a Whisper model for CTranslate2 lies: in a folder, or, by its name, on the Hugging Face Hub and in
the Hub's cache on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uniref_model.errors import RuntimeUnavailable
from uniref_model.limits import clipped
from uniref_model.outputs import show

_FILES = ("config.json", "model.bin", "tokenizer.json", "vocabulary.*")
"""Patterns, of which each has a file in every model."""
_MOST_QUOTED = 300
"""Characters of what the Hub's library says: its errors go on about what else to try."""
_TURBO = "mobiuslabsgmbh/faster-whisper-large-v3-turbo"
_REPOSITORIES = {
    **{
        f"{size}{language}": f"Systran/faster-whisper-{size}{language}"
        for size in ("tiny", "base", "small", "medium")
        for language in (".en", "")
    },
    **{version: f"Systran/faster-whisper-{version}" for version in ("large-v1", "large-v2", "large-v3")},
    "large": "Systran/faster-whisper-large-v3",
    **{
        f"distil-{size}": f"Systran/faster-distil-whisper-{size}"
        for size in ("small.en", "medium.en", "large-v2", "large-v3")
    },
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": _TURBO,
    "turbo": _TURBO,
}
"""The converted models that others publish, by the names that people know them by."""


def model_folder(model: str) -> Path:
    """The folder of a model. model: that folder, or a name; what was downloaded once is taken from the cache,
    without asking the network.

    Raises RuntimeUnavailable for what is neither, files that are missing, and a Hub that cannot be reached.
    """
    folder = Path(model)
    if model and folder.is_dir():
        if missing := _missing(folder):
            raise RuntimeUnavailable(f"the Whisper model in {show(folder)} lacks {', '.join(missing)}")
        return folder
    if model not in _REPOSITORIES:
        raise RuntimeUnavailable(
            f"engine_model is {model!r}, expected the folder of a Whisper model for CTranslate2, or one of "
            f"{', '.join(_REPOSITORIES)}, which is then downloaded"
        )
    return _from_hub(model, _REPOSITORIES[model])


def _from_hub(model: str, repository: str) -> Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise RuntimeUnavailable(
            f"the Whisper model {model!r} cannot be looked for ({error}); pip install huggingface_hub, or "
            "give the folder of a model"
        ) from error
    return _cached(huggingface_hub, repository) or _downloaded(huggingface_hub, model, repository)


def _cached(hub: Any, repository: str) -> Path | None:
    """The model's folder in the cache; None when it is not there, or a part of it alone."""
    try:
        folder = Path(hub.snapshot_download(repository, allow_patterns=_FILES, local_files_only=True))
    except OSError:  # the Hub's own, for what is not there, is one
        return None
    return None if _missing(folder) else folder


def _downloaded(hub: Any, model: str, repository: str) -> Path:
    try:
        folder = Path(hub.snapshot_download(repository, allow_patterns=_FILES))
    except Exception as error:  # of the Hub, of its HTTP library, of the disk: no base in common
        reason = clipped(" ".join(str(error).split()), _MOST_QUOTED)
        raise RuntimeUnavailable(
            f"the Whisper model {model!r} is not on this machine, and cannot be downloaded from {repository} "
            f"on the Hugging Face Hub ({reason}); without a network, give the folder of a model"
        ) from error
    if missing := _missing(folder):
        raise RuntimeUnavailable(f"{repository} on the Hugging Face Hub lacks {', '.join(missing)}")
    return folder


def _missing(folder: Path) -> list[str]:
    return [pattern for pattern in _FILES if not any(path.is_file() for path in folder.glob(pattern))]
