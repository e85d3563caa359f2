"""The training run: time-limited, resumable, on one or several processes."""

from __future__ import annotations

import json
import os
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from uniref_model.network.config import ModelConfig
from uniref_model.network.loading import CONFIG_KEY
from uniref_model.network.model import UniRef
from uniref_model.synth.pairs import Pairs
from uniref_model.training import calibrate
from uniref_model.training.config import Stage, TrainingConfig
from uniref_model.training.log import RunLog
from uniref_model.training.source import BatchStream, ExampleMaker, loader
from uniref_model.training.state import (
    Average,
    RunState,
    build_optimiser,
    freeze,
    load_initial,
    set_rate,
)
from uniref_model.training.step import Tensors, TrainingModel
from uniref_model.training.validate import validate
from uniref_model.training.words import WordCache

VALIDATION_PAIRS = Pairs(words=1, mask=1, both=0.5, interactive=1, absent=1, gone=0.5, across=1, foreign=1)


@dataclass(frozen=True)
class RunOptions:
    """Where and how long to train. `processes` share every step's batch (gradients are averaged)."""

    output: Path
    minutes: float
    resume: Path | None = None
    device: str = "cpu"
    processes: int = 1
    threads: int = 2
    workers: int = 1
    port: int = 29511  # processes meet at this local port
    init: Path | None = None  # weights to start from, when nothing is resumed


def train(config: TrainingConfig, options: RunOptions, make: ExampleMaker, held_out: ExampleMaker) -> Path:
    """Train and return the path of the last checkpoint; make, held_out: training and validation clips."""
    options.output.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        _run(0, config, options, make, held_out)
    else:
        torch.multiprocessing.spawn(_run, (config, options, make, held_out), nprocs=options.processes)
    return options.output / "last.pt"


def build_model(config: TrainingConfig, init: Path | None = None) -> TrainingModel:
    """The network with the weights of `init`, or with ImageNet backbone weights where the package that holds
    them is installed."""
    from uniref_model.training.pretrained import load_pretrained_backbone

    torch.manual_seed(config.seed)
    network = UniRef(ModelConfig.from_name(config.model), with_text=False)
    if init is None:
        load_pretrained_backbone(network)
    else:
        load_initial(network, init)
        if config.restore_backbone:
            load_pretrained_backbone(network)
    freeze(network.backbone.body, config.frozen)
    return TrainingModel(network, config).to(memory_format=torch.channels_last)


def _run(
    rank: int, config: TrainingConfig, options: RunOptions, make: ExampleMaker, held_out: ExampleMaker
) -> None:
    torch.set_num_threads(options.threads)
    shared = options.processes > 1
    if shared:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(options.port))
        backend = "nccl" if options.device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=options.processes, timeout=timedelta(hours=1))
    try:
        _Run(rank, config, options, make, held_out).go()
    finally:
        if shared:
            dist.destroy_process_group()


class _Run:
    """One process's part of a run; process 0 also logs, averages, validates and saves."""

    def __init__(
        self,
        rank: int,
        config: TrainingConfig,
        options: RunOptions,
        make: ExampleMaker,
        held_out: ExampleMaker,
    ) -> None:
        self.rank, self.config, self.options, self.make = rank, config, options, make
        self.held_out = held_out
        self.device = torch.device(options.device)
        model = build_model(config, options.init).to(self.device)
        self.words = WordCache(options.output / f"text_{rank}", model.network.config.text.max_words)
        self._teach(model)
        model.train()
        self.state = RunState(model, Average(model.network, config.ema_decay), build_optimiser(model, config))
        if options.resume is not None:
            self.state.load(options.resume)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        seed = config.seed + 7919 * rank + self.state.step
        random.seed(seed)
        self.rng = np.random.default_rng(config.seed + self.state.step)  # equal in all processes
        self.seed = seed
        if rank == 0:
            self.log = RunLog(options.output, options.minutes, self.state.seconds / 60)
            self.validation = list(self._held_out(config.validation_clips, 0))
            self.saved = self.validated = self.state.seconds

    def _teach(self, model: TrainingModel) -> None:
        """What the backbone's classifier has to teach: class names, and, at the start of a run, nouns."""
        names = self.config.weights.classes > 0
        nouns = model.network.nouns if self.options.resume is None else None
        if not names and nouns is None:
            return
        from uniref_model.training.classes import ClassNames, class_names, load_teacher, vocabularies
        from uniref_model.training.nouns import fill

        teacher = load_teacher(model.network.config.backbone.name)
        if teacher is None:
            return
        if nouns is not None:
            fill(nouns, teacher, self.words)
        if names:
            words, cover = vocabularies(class_names())
            hidden, attention = self.words([f"the {word}" for word in words])
            model.class_names = ClassNames(teacher, cover, hidden, attention).to(self.device)

    def _held_out(self, clips: int, seed: int) -> Iterator[Tensors]:
        """Batches of held-out clips at the last stage's size."""
        last = self.config.stages[-1]
        stage = Stage(1.0, last.height, last.width, 4)
        config = replace(self.config, pairs=VALIDATION_PAIRS)
        stream = iter(BatchStream(self.held_out, config, [stage], seed))
        return (Tensors.of(next(stream), self.words, self.device) for _ in range(clips // 4))

    def go(self) -> None:
        """Train until the time is over, stage by stage."""
        total, state = self.options.minutes * 60, self.state
        progress, stages, batches = state.seconds / total, None, None
        mark, seconds_before = time.monotonic(), state.seconds
        while progress < 1:
            wanted = self.config.stages_at(progress)
            if wanted != stages:
                stages, batches = wanted, self._batches(wanted)
            data = Tensors.of(next(batches), self.words, self.device)
            figures = self._step(data, progress)
            state.step += 1
            state.seconds = seconds_before + time.monotonic() - mark
            progress = self._agree(state.seconds / total)
            if self.rank == 0:
                self._report(figures)
        if self.rank == 0:
            self._finish()

    def _batches(self, stages: tuple[Stage, ...]) -> Iterator:
        stream = BatchStream(self.make, self.config, stages, self.seed + self.state.step)
        return iter(loader(stream, self.options.workers))

    def _step(self, data: Tensors, progress: float) -> dict[str, float]:
        state, config = self.state, self.config
        rate = set_rate(state.optimiser, config, state.step, progress)
        feedback = progress > config.feedback_after and self.rng.random() < config.feedback_probability
        started = time.monotonic()
        loss, figures = state.model(data, feedback)
        if not torch.isfinite(loss):
            raise RuntimeError(f"the loss is {float(loss)} at step {state.step}; terms: {figures}")
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._share_gradients()
        figures["gradient"] = float(torch.nn.utils.clip_grad_norm_(self.parameters, config.gradient_clip))
        state.optimiser.step()
        if self.rank == 0:
            state.average.update(state.model.network)
        pairs = len(data.frame) * self.options.processes
        return figures | {"rate": rate, "pairs/s": pairs / (time.monotonic() - started)}

    def _share_gradients(self) -> None:
        if self.options.processes == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.options.processes
        for parameter, part in zip(
            self.parameters, flat.split([p.numel() for p in self.parameters]), strict=True
        ):
            parameter.grad = part.view_as(parameter)

    def _agree(self, progress: float) -> float:
        if self.options.processes == 1:
            return progress
        shared = torch.tensor([progress], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def _report(self, figures: dict[str, float]) -> None:
        state, config = self.state, self.config
        self.log.step(state.step, state.seconds / 60, figures)
        if state.seconds - self.validated > 60 * config.validation_minutes:
            self.validated = state.seconds
            self._validate()
        if state.seconds - self.saved > 60 * config.checkpoint_minutes:
            self.saved = state.seconds
            self._save()

    @contextmanager
    def _averaged(self) -> Iterator[UniRef]:
        """The network with the averaged weights, for a while."""
        network = self.state.model.network
        trained = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.state.average.state)
        yield network
        network.load_state_dict(trained)

    def _validate(self) -> None:
        """Score the averaged weights."""
        with self._averaged():
            scores = validate(self.state.model, self.validation)
        self.log.write(
            {
                "step": self.state.step,
                "minutes": self.state.seconds / 60,
                **{f"val/{name}": value for name, value in scores.items()},
            }
        )

    def _calibrate(self) -> None:
        """Write model.safetensors: the averaged weights, scores calibrated; `uniref export` takes it."""
        with self._averaged() as network:
            try:
                clips = self._held_out(self.config.calibration_clips, 1)
                found = calibrate.fit(*calibrate.collect(self.state.model, clips))
            except ValueError as error:  # a run of a few steps: nothing is right yet
                warnings.warn(f"the scores stay uncalibrated, no model.safetensors: {error}", stacklevel=2)
                return
            calibrate.apply(network, found)
            weights = {name: value.contiguous().clone() for name, value in network.state_dict().items()}
        notes = {
            "format": "pt",
            CONFIG_KEY: json.dumps(network.config.to_dict()),
            "step": str(self.state.step),
            "calibration": str(found),
        }
        save_file(weights, self.options.output / "model.safetensors", metadata=notes)
        fitted = {f"calibration/{name}": value for name, value in asdict(found).items()}
        self.log.write({"step": self.state.step, **fitted})

    def _save(self) -> None:
        self.state.save(self.options.output / "last.pt")
        average = {name: value.contiguous() for name, value in self.state.average.state.items()}
        save_file(average, self.options.output / "average.part", metadata={"step": str(self.state.step)})
        (self.options.output / "average.part").replace(self.options.output / "average.safetensors")
        self.log.draw()

    def _finish(self) -> None:
        self._validate()
        self._calibrate()
        self._save()
        self.log.close()
