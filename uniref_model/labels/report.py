"""What a job came to: `summary.json` for programs, `index.html` for people."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..limits import clipped
from .datasets import FORMATS
from .job import Job, Task
from .store import Store

_SHOWN_INTERVALS = 6
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222 }
body { margin: 2rem auto; max-width: 96rem; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem }
table { border-collapse: collapse }
td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top }
th { font-weight: 600; border-bottom: 1px solid #999 } img { max-width: 100%; margin-top: .3rem }
.bad { color: #a00 } .dim { color: #777 } a { color: #06c }
"""


def report(
    job: Job,
    tasks: Sequence[Task],
    results: Sequence[Mapping[str, Any]],
    failed: Mapping[str, str],
    store: Store,
) -> None:
    """Write both. Nothing in them tells when or how fast: the same job gives the same report. Raises
    SourceError."""
    sources = {task.name: task.source for task in tasks}
    summary = {
        "tasks": len(tasks),
        "done": len(results),
        "frames": sum(result["frames"] for result in results),
        "failed": [
            {"task": name, "source": sources[name], "reason": reason}
            for name, reason in sorted(failed.items())
        ],
        "sources": [
            {key: value for key, value in result.items() if key != "fingerprint"} for result in results
        ],
    }
    store.write("summary.json", json.dumps(summary, indent=1) + "\n")
    store.write("index.html", _page(job, summary))


def _page(job: Job, summary: Mapping[str, Any]) -> str:
    objects = [item for source in summary["sources"] for item in source["objects"]]
    seen = sum(item["seen"] for item in objects)
    head = (
        f"{summary['done']} of {summary['tasks']} recordings, {summary['frames']} frames, "
        f"{len(objects)} objects seen {seen} times"
    )
    parts = [
        "<!doctype html>\n<html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>Labels</title><style>{_STYLE}</style>",
        f"<h1>Labels</h1><p>{head}. <a href=summary.json>summary.json</a></p>",
    ]
    made = [form for form in FORMATS if form in job.write and summary["done"]]
    if made:
        parts.append(f"<p>Data sets: {', '.join(f'<a href={form}/>{form}</a>' for form in made)}</p>")
    if summary["failed"]:
        parts.append(f"<h2 class=bad>{len(summary['failed'])} could not be labelled</h2>")
        rows = [(item["task"], item["source"], item["reason"]) for item in summary["failed"]]
        parts.append(_table(("recording", "file", "why"), rows))
    parts += [_source(source) for source in summary["sources"]]
    return "\n".join(parts) + "\n"


def _source(source: Mapping[str, Any]) -> str:
    folder = f"tasks/{quote(source['task'])}"
    rows = [
        (
            item["label"],
            item["id"] + (f" ({item['camera']})" if item["camera"] else ""),
            f"{item['seen']} of {item['frames']}",
            "never" if item["first_seen"] is None else f"frame {item['first_seen']}",
            "" if item["mean_score"] is None else f"{item['mean_score']:.2f}",
            _intervals(item["lost"]),
        )
        for item in source["objects"]
    ]
    columns = ("object", "id", "seen in", "first seen", "mean score", "lost in frames")
    warnings = "".join(f"<p class=dim>{_text(clipped(text, 400))}</p>" for text in source["warnings"][:8])
    link = f"<a href='{folder}/'>{_text(source['task'])}</a>"
    doubtful = f"<p><a href='{folder}/review.png'>{source['doubtful']} doubtful</a></p>"
    return (
        f"<h2>{link} <span class=dim>{source['frames']} frames</span></h2>\n"
        f"{_table(columns, rows)}\n{warnings}"
        f"<img src='{folder}/sheet.jpg' alt='frames' loading=lazy>"
        f"{doubtful if source['doubtful'] else ''}"
    )


def _intervals(lost: Sequence[Sequence[int]]) -> str:
    more = f" and {len(lost) - _SHOWN_INTERVALS} more" if len(lost) > _SHOWN_INTERVALS else ""
    return ", ".join(f"{first}–{last}" for first, last in lost[:_SHOWN_INTERVALS]) + more


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(column)}" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}" for cell in row) for row in rows)
    return f"<table><tr>{head}{body}</table>"


def _text(text: str) -> str:
    return html.escape(text)
