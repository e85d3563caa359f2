"""A run on clips, limited by time, top to bottom: how `uniref_nano` was made."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch.optim.swa_utils import AveragedModel

from uniref_model.network.config import ModelConfig
from uniref_model.network.loading import save_weights
from uniref_model.network.model import UniRef
from uniref_model.synth.pairs import Pairs
from uniref_model.training import calibrate, checkpoints
from uniref_model.training.average import averaged
from uniref_model.training.config import Phase, TrainingConfig
from uniref_model.training.likeness import find_directions
from uniref_model.training.log import RunLog, draw
from uniref_model.training.optimiser import build_optimiser, set_rate
from uniref_model.training.pretrained import load_pretrained_backbone
from uniref_model.training.processes import launch, open_accelerator
from uniref_model.training.revive import revive_mask_features
from uniref_model.training.source import BatchStream, ExampleMaker, loader
from uniref_model.training.start import freeze, load_initial
from uniref_model.training.step import Tensors, TrainingModel
from uniref_model.training.validate import validate
from uniref_model.training.words import WordCache

VALIDATION_PAIRS = Pairs(words=1, mask=1, both=0.5, interactive=1, absent=1, gone=0.5, across=1, foreign=1)
_SHOWN = ("loss", "iou/words", "iou/mask", "iou/hint", "pairs/s")


@dataclass(frozen=True)
class RunOptions:
    """Where and how long to train.

    minutes: resumed parts included. resume: a run's folder, or one of its checkpoints. init: weights to start
    from, when nothing is resumed. processes: each with its own clips, whose gradients are averaged.
    """

    output: Path
    minutes: float
    resume: Path | None = None
    device: str = "cpu"
    processes: int = 1
    threads: int = 2
    workers: int = 1
    init: Path | None = None


def train(config: TrainingConfig, options: RunOptions, make: ExampleMaker, held_out: ExampleMaker) -> Path:
    """Train and return the run's last checkpoint; make, held_out: training and validation clips.

    Leaves checkpoints/, log.jsonl, log.png, average.safetensors, and at the end model.safetensors, which
    `uniref export` takes. Raises UniRefError naming what is missing or wrong.
    """
    checkpoints.claim(options.output, options.resume)
    options.output.mkdir(parents=True, exist_ok=True)
    launch(_run, config, options, make, held_out, processes=options.processes)
    return checkpoints.find(options.output)


def _run(config: TrainingConfig, options: RunOptions, make: ExampleMaker, held_out: ExampleMaker) -> None:
    accelerator = open_accelerator(options.device, threads=options.threads, unused=True)
    main, rank, output = accelerator.is_main_process, accelerator.process_index, options.output
    checkpoint = None if options.resume is None else checkpoints.find(options.resume)
    step, before = (0, 0.0) if checkpoint is None else checkpoints.reached(checkpoint)
    seconds, total = before, 60 * options.minutes

    # the network, its averaged copy, and what teaches it
    model = build_model(config, options.init)
    network = model.network
    words = WordCache(output / f"text_{rank}", network.config.text.max_words)
    teach(model, config, words, accelerator.device, new=checkpoint is None)
    if checkpoint is None and options.init is not None:
        sample = next(iter(BatchStream(make, config, config.phases_at(0.0), config.seed)))  # equal in all
        if revive_mask_features(model, Tensors.of(sample, words, accelerator.device)) and main:
            warnings.warn(f"the mask features of {options.init} were dead: begun anew", stacklevel=1)
    if checkpoint is None and network.likeness is not None and not network.likeness.has_directions:
        stream = iter(BatchStream(make, config, config.phases_at(0.0), config.seed + 1))  # equal in all
        drawn = (next(stream) for _ in range(config.direction_batches))
        find_directions(model, (Tensors.of(batch, words, accelerator.device) for batch in drawn))
    average = averaged(network, config.ema_decay)
    prepared, optimiser = accelerator.prepare(model.train(), build_optimiser(model, config))
    if checkpoint is not None:
        checkpoints.load(accelerator, checkpoint, average)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    judged = TrainingModel(average.module, config).to(accelerator.device)

    # its clips: every process draws its own, and a resumed run other ones than before
    seed = config.seed + 7919 * rank + step
    shared = np.random.default_rng(config.seed + step)  # equal in all processes
    held = _held_out(config, held_out, config.validation_clips, 0, words, accelerator.device)
    validation = list(held) if main else []
    phases: tuple[Phase, ...] = ()

    started, saved, validated = time.monotonic(), seconds, seconds
    log = _open_log(output, options, step, seconds) if main else None
    with nullcontext() if log is None else closing(log):
        while (progress := _agreed(accelerator, seconds / total)) < 1:
            if phases != config.phases_at(progress):
                phases = config.phases_at(progress)
                batches = iter(loader(BatchStream(make, config, phases, seed + step), options.workers))
            rate = set_rate(optimiser, config, step, progress)
            feedback = progress > config.feedback_after and shared.random() < config.feedback_probability
            data = Tensors.of(next(batches), words, accelerator.device)
            mark = time.monotonic()
            loss, figures = prepared(data, feedback)
            if not torch.isfinite(loss):
                raise RuntimeError(f"the loss is {float(loss)} at step {step}; terms: {figures}")
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(trained, config.gradient_clip)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            average.update_parameters(network)
            step, seconds = step + 1, before + time.monotonic() - started
            if log is not None:
                pace = len(data.frame) * accelerator.num_processes / (time.monotonic() - mark)
                facts = {"minutes": seconds / 60, "gradient": float(norm), "rate": rate, "pairs/s": pace}
                log.step(step, seconds / 60, figures | facts)
                if seconds - validated > 60 * config.validation_minutes:
                    validated = seconds
                    _validate(log, step, judged, validation)
            if _agreed(accelerator, seconds - saved) > 60 * config.checkpoint_minutes:
                saved = seconds
                _save(accelerator, output, average, step, seconds)
        if log is not None:
            _validate(log, step, judged, validation)
        _save(accelerator, output, average, step, seconds)
        if log is not None:
            clips = _held_out(config, held_out, config.calibration_clips, 1, words, accelerator.device)
            _finish(log, step, judged, clips, config, output)
    accelerator.end_training()


def build_model(config: TrainingConfig, init: Path | None = None) -> TrainingModel:
    """The network with the weights of `init`, or with ImageNet backbone weights where the package that holds
    them is installed."""
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


def teach(
    model: TrainingModel, config: TrainingConfig, words: WordCache, device: torch.device, *, new: bool
) -> None:
    """What the backbone's classifier has to teach: class names, and, at the start of a run, nouns."""
    names = config.weights.classes > 0
    nouns = model.network.nouns if new else None
    if not names and nouns is None:
        return
    from uniref_model.training.classes import ClassNames, class_names, load_teacher, vocabularies
    from uniref_model.training.nouns import fill

    teacher = load_teacher(model.network.config.backbone.name)
    if teacher is None:
        return
    if nouns is not None:
        fill(nouns, teacher, words)
    if names:
        known, cover = vocabularies(class_names())
        model.teach(ClassNames(teacher, cover, *words([f"the {word}" for word in known])).to(device))


def _held_out(
    config: TrainingConfig,
    held_out: ExampleMaker,
    clips: int,
    seed: int,
    words: WordCache,
    device: torch.device,
) -> Iterator[Tensors]:
    """Batches of held-out clips at the last phase's size."""
    last = config.phases[-1]
    asked = replace(config, pairs=VALIDATION_PAIRS)
    stream = iter(BatchStream(held_out, asked, [Phase(1.0, last.height, last.width, 4)], seed))
    return (Tensors.of(next(stream), words, device) for _ in range(clips // 4))


def _open_log(output: Path, options: RunOptions, step: int, seconds: float) -> RunLog:
    done = seconds / 60
    return RunLog(output, key="step", step=step, total=options.minutes, done=done, unit="min", shown=_SHOWN)


def _agreed(accelerator: Accelerator, value: float) -> float:
    """The main process's value, so that clocks that differ part nobody from the others."""
    if accelerator.num_processes == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=accelerator.device)
    return float(broadcast(shared)[0])


def _validate(log: RunLog, step: int, judged: TrainingModel, batches: list[Tensors]) -> None:
    scores = validate(judged, batches)
    log.write(step, {f"val/{name}": value for name, value in scores.items()})


def _save(accelerator: Accelerator, output: Path, average: AveragedModel, step: int, seconds: float) -> None:
    """A checkpoint to go on from, and the averaged weights as they are."""
    network, told = average.module, {"step": step, "seconds": seconds}
    checkpoints.save(accelerator, output, step, told, average.state_dict())
    if accelerator.is_main_process:
        notes = {"step": str(step)}
        save_weights(network.state_dict(), network.config, output / "average.safetensors", notes)
        draw(output / "log.jsonl", output / "log.png")


def _finish(
    log: RunLog,
    step: int,
    judged: TrainingModel,
    clips: Iterator[Tensors],
    config: TrainingConfig,
    output: Path,
) -> None:
    """Write model.safetensors: the averaged weights, their scores calibrated on held-out clips."""
    try:
        found = calibrate.fit(*calibrate.collect(judged, clips))
    except ValueError as error:  # a run of a few steps: nothing is right yet
        warnings.warn(f"the scores stay uncalibrated, no model.safetensors: {error}", stacklevel=2)
        return
    network = copy.deepcopy(judged.network)
    calibrate.apply(network, found)
    if config.likeness and network.likeness is not None:
        network.likeness.weigh(*config.likeness)
    notes = {"step": str(step), "calibration": str(found)}
    save_weights(network.state_dict(), network.config, output / "model.safetensors", notes)
    log.write(step, {f"calibration/{name}": value for name, value in asdict(found).items()})
