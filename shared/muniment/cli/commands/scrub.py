"""`muniment scrub status|run|ls|repair`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from muniment.cli import failures
from muniment.cli.arguments import Command, Option
from muniment.cli.progress import ProgressLine
from muniment.cli.session import DEFAULTS, Column, Common, Limit
from muniment.cli.text import cell, duration, moment, short, size

app = Command(
    "muniment scrub",
    "Committed bytes are read again and again. What is damaged is neither promoted, released nor handed out until good "
    "bytes with the same digest are in its place.",
    example="muniment scrub run --model digits",
)
_TABLE: tuple[Column, ...] = (
    ("FILE", lambda item: _files(item)),
    ("CODE", lambda item: cell(item["code"])),
    ("EXPECTED", lambda item: short(cell(item["expected"]).partition(",")[0])),
    ("ACTUAL", lambda item: cell(item["actual"])[:80]),
    ("SINCE", lambda item: moment(item["since"])),
)


@app.command("status")
def status(*, common: Common = DEFAULTS) -> None:
    """How the scrubber stands: what it reads, how fast, how old the oldest reading is, and what is damaged."""
    with common.client() as client:
        now = client.scrub_status()
    oldest = "nothing to read" if now["oldest_s"] is None else f"{duration(now['oldest_s'])} ago"
    runs = [
        (f"pass {run['id']}", f"{run.get('model') or 'all'}, asked for {moment(run['requested_at'])}, {_end(run)}")
        for run in now["runs"]
    ]
    common.show(
        now,
        name=now["damaged_files"],
        facts=[
            ("enabled", now["enabled"]),
            ("to read", f"{now['objects']} objects, {size(now['size'])}"),
            ("rate", f"{size(now['bytes_per_s'])}/s, at most {size(now['max_bytes_per_s'])}/s"),
            ("cycle", duration(now["cycle_s"])),
            ("oldest", oldest),
            ("damaged", f"{now['damaged_files']} files of {now['damaged_objects']} objects"),
            ("unread", f"{now['waiting']} objects: {now['last_error']}" if now["waiting"] else None),
            *runs,
        ],
    )
    common.next("muniment scrub ls" if now["damaged_objects"] else "muniment scrub run")


@app.command("run")
def run(
    *,
    model: Annotated[str | None, Option("Read this model's bytes alone.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Have all committed bytes read now, and wait for it; the exit code is 1 where some are damaged or not readable."""
    common.say("the pass goes on if you stop waiting: muniment scrub status")
    with common.client() as client, ProgressLine() as progress:
        done = client.scrub(model=model, on_progress=None if common.quiet else progress)
    damaged = done["damaged_objects"]
    unread = 0 if done["finished_at"] is not None else done["objects"] - done["objects_done"]
    common.show(
        done,
        name=done["id"],
        facts=[
            ("pass", done["id"]),
            ("model", done.get("model") or "all"),
            ("read", f"{done['objects_done']} objects, {size(done['bytes_done'])}"),
            ("damaged", f"{damaged} objects" if damaged else "none"),
            ("unread", f"{unread} objects, which the store does not give: {done['last_error']}" if unread else None),
        ],
    )
    common.next("muniment scrub ls" if damaged else "muniment scrub status")
    return failures.FAILED if damaged or unread else failures.OK


@app.command("ls")
def ls(
    *,
    model: Annotated[str | None, Option("Of this model alone.")] = None,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List what is damaged, and whose files these are."""
    with common.client() as client:
        common.rows(
            client.damages(model=model),
            name=lambda item: item["sha256"],
            table=_TABLE,
            limit=limit,
            empty="nothing is known to be damaged",
            then="muniment scrub repair REF FILE_PATH --from LOCAL_FILE",
        )


@app.command("repair")
def repair(
    ref: str,
    file_path: str,
    /,
    *,
    source: Annotated[Path, Option("A local file with the very bytes that were published.", ("--from",))],
    common: Common = DEFAULTS,
) -> None:
    """Put the good bytes of a damaged file back: every version and release that has these bytes is repaired."""
    with common.client() as client, ProgressLine() as progress:
        done = client.repair(ref, file_path, source, on_progress=None if common.quiet else progress)
    place = done["location"]
    common.show(
        done,
        name=place["version_id"],
        facts=[
            ("repaired", f"{file_path} of {ref}"),
            ("sha256", done["sha256"]),
            ("bytes at", f"{place['bucket']}/{place['key']}"),
            ("version-id", place["version_id"]),
            ("locked until", moment(done["lock"]["until"])),
        ],
    )
    common.next("muniment scrub status")


def _files(item: Any) -> str:
    files = item["files"]
    if not files:
        return short(item["sha256"])
    first = files[0]
    holder = f"@{first['release']}" if first.get("release") else f"/{first['version']['number']}"
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{cell(first['model'])}{cell(holder)} {cell(first['path'])}{others}"


def _end(run: Any) -> str:
    return f"ended {moment(run['finished_at'])}" if run["finished_at"] else "under way"
