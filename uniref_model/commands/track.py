"""`uniref track`: a tracker over a recording, with its pictures, masks and numbers written as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext

from ..bags.source import BagSource
from ..errors import SourceError, UniRefError
from ..known_objects import KnownObjects
from ..labels.writer import Export
from ..limits import MAX_PIXELS
from ..offline.model import ModelChoice
from ..offline.replay import Replay
from ..offline.session import Session
from ..offline.sources import open_frames
from ..offline.summary import Summary
from ..offline.wanted import References, read_references
from ..offline.writers import Outputs
from ..outputs import show
from ..tracking import TrackerConfig
from ..video import FrameSource, Selection, SourceFrame
from . import console


def track(
    source: str,
    references: References,
    outputs: Outputs,
    model: ModelChoice,
    config: TrackerConfig,
    *,
    topics: Sequence[str] = (),
    selection: Selection | None = None,
    replayed: str | None = None,
    export: Export | None = None,
    known: KnownObjects | None = None,
    max_frames: int | None = None,
    quiet: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Follow the references through the source. Raises UniRefError; what was written until then is kept
    whole. replayed: the node whose recorded prompts are obeyed. export: a data set to
    be made. known: objects that may be called by name. max_pixels: of a frame or mask, as its file states
    them."""
    for name, reason in (known.damaged if known is not None else {}).items():
        console.status.print(f"warning: of the known objects {show(name)} is left out: {show(reason)}")
    wanted = read_references(references, max_pixels)
    if not wanted and replayed is None:
        raise UniRefError("nothing to follow: give --prompt, --mask, --click or --box")
    frames = open_frames(source, topics, selection, max_pixels)
    try:
        if len(frames.cameras) > 1 and references.are_drawn:
            raise UniRefError("masks, clicks and boxes belong to one camera's picture: give one --topic")
        outputs.check(frames, references.mask, None if export is None else export.folder)
        with model.load() as runtime:
            session = Session(runtime, config, wanted, frames.cameras, console.status.print, known)
            replay = None if replayed is None else _replay(frames, session, replayed, max_pixels)
            summary = Summary(several=len(frames.cameras) > 1)
            try:
                for writer in outputs.open(frames, {"source": source}):
                    session.write_to(writer)
                if export is not None:
                    session.write_to(export.open(source))
                whole = _run(session, _unpaused(frames, replay), frames, summary, max_frames, quiet)
                if whole and not summary.frames and replay is None:
                    timed = " in this span" if selection is not None and selection.is_timed else ""
                    raise SourceError(f"{show(source)} has no frames{timed}")
            finally:
                session.close()
            if not quiet:
                console.output.print(summary.table(runtime))
    finally:
        frames.close()


def _replay(frames: FrameSource, session: Session, node: str, max_pixels: int) -> Replay:
    return Replay(
        frames, session.trackers, session.ids, console.status.print, node=node, max_pixels=max_pixels
    )


def _unpaused(frames: FrameSource, replay: Replay | None) -> Iterator[SourceFrame]:
    return (frame for frame in frames if replay is None or replay.enabled)


def _run(
    session: Session,
    chosen: Iterable[SourceFrame],
    frames: FrameSource,
    summary: Summary,
    max_frames: int | None,
    quiet: bool,
) -> bool:
    """Whether nobody stopped it. chosen: of the frames, those to step."""
    total = frames.length if max_frames is None else min(max_frames, frames.length or max_frames)
    whole = True
    hidden = quiet or not console.status.is_terminal
    progress = console.progress(transient=True)
    with nullcontext() if hidden else progress:  # disabled, rich 13.0 would still end a line
        task = progress.add_task("tracking", total=total)
        try:
            for frame in chosen:
                if max_frames is not None and summary.frames >= max_frames:
                    break
                summary.take(session.step(frame), frame.camera)
                progress.advance(task)
        except KeyboardInterrupt:  # the usual end of a camera: finish the files
            console.status.print("stopped")
            whole = False
    if isinstance(frames, BagSource) and frames.first_refusal:
        left_out = frames.refused.total()
        console.status.print(f"warning: {left_out} images could not be used; {frames.first_refusal}")
    elif whole and frames.length and max_frames is None and summary.frames < 0.9 * frames.length:
        console.status.print(
            f"warning: the source ended after {summary.frames} of {frames.length} announced frames"
        )
    return whole
