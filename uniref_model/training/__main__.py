"""`python -m uniref_model.training CONFIG --output DIR`: the same as `uniref train`."""

from __future__ import annotations

import argparse
from pathlib import Path

from uniref_model.synth.config import ClipConfig
from uniref_model.synth.examples import GeneratedExamples
from uniref_model.training.config import TrainingConfig
from uniref_model.training.loop import RunOptions, train


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="uniref train", description="Train a UniRef model on generated clips."
    )
    parser.add_argument("config", type=Path, help="training YAML, for instance config/training/nano.yaml")
    parser.add_argument("--output", type=Path, required=True, help="folder for checkpoints, log and plot")
    parser.add_argument("--minutes", type=float, default=80.0, help="training time, resumed parts included")
    parser.add_argument("--pack", type=Path, help="sprite pack; without it all objects are procedural")
    parser.add_argument("--data", type=Path, help="clip settings, for instance config/training/data.yaml")
    parser.add_argument("--resume", type=Path, help="checkpoint (last.pt) to continue from")
    parser.add_argument(
        "--init", type=Path, help="weights (.safetensors) to start from, without optimiser state"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="processes that share each step")
    parser.add_argument("--threads", type=int, default=2, help="threads of each process")
    parser.add_argument("--workers", type=int, default=1, help="data workers of each process")
    given = parser.parse_args()
    clips = ClipConfig() if given.data is None else ClipConfig.from_yaml(given.data)
    options = RunOptions(
        given.output,
        given.minutes,
        given.resume,
        given.device,
        given.processes,
        given.threads,
        given.workers,
        init=given.init,
    )
    train(
        TrainingConfig.from_yaml(given.config),
        options,
        GeneratedExamples(given.pack, clips),
        GeneratedExamples(given.pack, clips, validation=True),
    )


if __name__ == "__main__":
    main()
