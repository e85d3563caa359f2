"""The run of a stage: one process or many (accelerate, DDP), resumable to the same losses."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from uniref_model.datasets.training import TrainingSet
from uniref_model.network.loading import save_weights
from uniref_model.training import checkpoints
from uniref_model.training.log import RunLog
from uniref_model.training.paper.batches import Collate, StageBatch
from uniref_model.training.paper.config import StageConfig
from uniref_model.training.paper.optimiser import build_optimiser, set_rates
from uniref_model.training.paper.progress import Progress, check
from uniref_model.training.paper.samples import SampleStream
from uniref_model.training.paper.sampling import MultiDatasetBatches
from uniref_model.training.paper.sets import open_dataset
from uniref_model.training.paper.start import StartOptions, build_network, open_tokenizer, resumed_network
from uniref_model.training.paper.step import StageModel
from uniref_model.training.processes import PRECISIONS, launch, open_accelerator

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageRun:
    """Where and how to train.

    data: folder with the data sets. resume: a run's folder or one of its checkpoints. accumulate: batches
    whose gradients a process adds up per iteration; None: as many as replace the GPUs that the stage counts
    on, so that an iteration sees the paper's number of samples. processes: started on this machine, unless
    torchrun or `accelerate launch` has started them.
    """

    output: Path
    data: Path
    start: StartOptions = field(default_factory=StartOptions)
    resume: Path | None = None
    device: str = "cpu"
    precision: str = "no"
    processes: int = 1
    threads: int = 2
    workers: int = 4
    accumulate: int | None = None


def train_stage(config: StageConfig, options: StageRun) -> Path:
    """Train a stage and return the model file. Raises UniRefError naming what is missing or wrong."""
    if options.precision not in PRECISIONS:  # before processes are started for it
        raise ValueError(f"precision is {options.precision!r}; expected one of {', '.join(PRECISIONS)}")
    checkpoints.claim(options.output, options.resume)
    options.output.mkdir(parents=True, exist_ok=True)
    launch(_run, config, options, processes=options.processes)
    return options.output / "model.safetensors"


def _run(config: StageConfig, options: StageRun) -> None:
    # in the last stage a batch uses words, masks or both, and the rest gets no gradient
    accelerator = open_accelerator(
        options.device, options.precision, threads=options.threads, unused=config.uses_masks
    )
    _Run(accelerator, config, options).go()
    accelerator.end_training()  # not after an error: it would wait for processes that are gone


class _Run:
    """One process's part of a run; the main one also logs and writes the files."""

    def __init__(self, accelerator: Accelerator, config: StageConfig, options: StageRun) -> None:
        self.accelerator, self.config, self.options = accelerator, config, options
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes
        self.accumulate = options.accumulate or max(config.gpus // self.processes, 1)
        if self.processes * self.accumulate != config.gpus and accelerator.is_main_process:
            _log.warning(
                "an iteration sees %d batches, not the stage's %d (gpus)",
                self.processes * self.accumulate,
                config.gpus,
            )
        self.iteration = 0
        checkpoint = None
        if options.resume is not None:
            checkpoint = checkpoints.find(options.resume)
            self.iteration = check(checkpoint, config, self.processes, self.accumulate).iteration
        self.batches = self._batches(checkpoint)
        if checkpoint is None:
            self.network = build_network(config, options.start)
        else:
            self.network = resumed_network(config, checkpoint)
        model = StageModel(self.network, config).train()
        self.model, self.optimiser = accelerator.prepare(model, build_optimiser(model, config))
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        torch.manual_seed(config.seed * 1_000_003 + self.rank)  # dropout
        if checkpoint is not None:
            checkpoints.load(accelerator, checkpoint)

    def _batches(self, checkpoint: Path | None) -> Iterator[StageBatch]:
        config, options = self.config, self.options
        sets = [open_dataset(item, options.data, config.frame_range) for item in config.datasets]
        tokenizer = None
        if config.uses_words:
            resumed = None if checkpoint is None else checkpoint.parent.parent
            tokenizer, path = open_tokenizer(config, options.start, resumed)
            if self.accelerator.is_main_process:  # prompts of the trained model need it beside the weights
                _place(path, options.output / "tokenizer.json")
        if self.accelerator.is_main_process:
            _describe(sets, config)
        return iter(_loader(sets, config, Collate(tokenizer), self._sampler(sets), options))

    def _sampler(self, sets: list[TrainingSet]) -> MultiDatasetBatches:
        return MultiDatasetBatches(
            sets,
            self.config.datasets,
            self.config.seed,
            self.rank,
            self.processes,
            start=self.iteration * self.accumulate,
        )

    def go(self) -> None:
        """Train to the last iteration."""
        config, main = self.config, self.accelerator.is_main_process
        log = self._open_log() if main else None
        try:
            while self.iteration < config.max_iterations:
                figures = self._iterate()
                self.iteration += 1
                if log is not None:
                    log.step(
                        self.iteration, self.iteration, figures, last=self.iteration == config.max_iterations
                    )
                if self.iteration % config.checkpoint_iterations == 0 or (
                    self.iteration == config.max_iterations
                ):
                    self._save()
        finally:
            if log is not None:
                log.close()

    def _open_log(self) -> RunLog:
        done, total = self.iteration, self.config.max_iterations
        return RunLog(
            self.options.output,
            key="iteration",
            step=done,
            total=total,
            done=done,
            unit="it",
            shown=("loss", "iou"),
        )

    def _iterate(self) -> dict:
        """One optimiser step; the figures are means over its batches."""
        accelerator, started = self.accelerator, time.monotonic()
        rate = set_rates(self.optimiser, self.config, self.iteration)
        sums: dict[str, list] = {}
        samples = 0
        for part in range(self.accumulate):
            batch = next(self.batches).to(accelerator.device)
            last = part == self.accumulate - 1
            with nullcontext() if last else accelerator.no_sync(self.model):
                loss, figures = self.model(batch, self.iteration)
                if not torch.isfinite(loss):
                    raise RuntimeError(self._explain(loss, figures))
                accelerator.backward(loss / self.accumulate)
            samples += len(batch.boxes)
            for name, value in figures.items():
                sums.setdefault(name, []).append(value)
        norm = accelerator.clip_grad_norm_(self.parameters, self.config.gradient_clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        means = {name: torch.stack(values).mean() for name, values in sums.items()}
        pace = samples * self.processes / (time.monotonic() - started)
        return means | {"gradient": norm, "rate": rate, "samples/s": pace}

    def _explain(self, loss: torch.Tensor, figures: dict) -> str:
        terms = {name: round(float(value), 4) for name, value in figures.items()}
        return (
            f"the loss is {float(loss)} at iteration {self.iteration} of process {self.rank}; terms: {terms}"
        )

    def _save(self) -> None:
        progress = Progress(self.iteration, self.processes, self.accumulate)
        checkpoints.save(self.accelerator, self.options.output, self.iteration, progress.notes(self.config))
        if self.accelerator.is_main_process:
            path = self.options.output / "model.safetensors"
            save_weights(self.network.state_dict(), self.network.config, path)


def _loader(
    sets: list[TrainingSet],
    config: StageConfig,
    collate: Collate,
    sampler: MultiDatasetBatches,
    options: StageRun,
) -> DataLoader:
    # its own generator: what it draws for its workers must not move the run's random state
    return DataLoader(
        SampleStream(sets, config.datasets, config.seed),
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=options.workers,
        pin_memory=options.device == "cuda",
        worker_init_fn=_quiet,
        generator=torch.Generator().manual_seed(config.seed),
        persistent_workers=options.workers > 0,
    )


def _quiet(_: int) -> None:
    import cv2

    cv2.setNumThreads(0)  # one worker, one thread


def _describe(sets: list[TrainingSet], config: StageConfig) -> None:
    total = sum(item.weight for item in config.datasets)
    for dataset, item in zip(sets, config.datasets, strict=True):
        _log.info("%s: %d items, %.0f %% of samples", item.name, len(dataset), 100 * item.weight / total)


def _place(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)
