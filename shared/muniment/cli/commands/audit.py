"""`muniment audit ls|show|checkpoint|prove|verify|export|close-log` and `muniment audit keys ls|rotate`."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.session import DEFAULTS, Common, Limit, dumps
from muniment.cli.text import cell, moment

app = Command(
    "muniment audit",
    "The audit log: who did what, when, with which changes, and what caused it.",
    example="muniment audit ls --model digits --action version.committed --newest",
)
keys_app = app.part(
    "keys",
    "The keys that sign the log's checkpoints. Give the public ones to whoever verifies.",
    example="muniment audit keys ls",
)


@app.command("ls")
def ls(
    *,
    model: str | None = None,
    action: Annotated[str | None, Option("Such as version.committed.")] = None,
    operator: str | None = None,
    resource: Annotated[str | None, Option("Such as models/digits/versions/3.")] = None,
    publication: Annotated[str | None, Option("Everything that a publication caused.")] = None,
    outcome: Literal["done", "refused"] | None = None,
    since: Annotated[str | None, Option("From this time on (RFC 3339).")] = None,
    until: Annotated[str | None, Option("Before this time (RFC 3339).")] = None,
    after_index: int | None = None,
    newest: Annotated[bool, Option("The newest first.")] = False,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List entries, the oldest first."""
    with common.client() as client:
        entries = client.audit_entries(
            model=model,
            action=action,
            operator=operator,
            resource=resource,
            correlation=publication,
            outcome=outcome,
            since=since,
            until=until,
            after_index=after_index,
            order="newest" if newest else "oldest",
        )
        common.rows(
            (item.raw for item in entries),
            name=lambda item: item["index"],
            table=(
                ("INDEX", lambda item: cell(item["index"])),
                ("TIME", lambda item: moment(item["entry"].get("log_time"))),
                ("OPERATOR", lambda item: cell(item["entry"].get("operator"))),
                ("ACTION", lambda item: cell(item["entry"].get("action"))),
                ("RESOURCE", lambda item: cell(item["entry"].get("resource"))),
                ("OUTCOME", lambda item: cell(item["entry"].get("outcome"))),
            ),
            limit=limit,
            empty="no entry fits",
            then="muniment audit show INDEX",
        )


@app.command("show")
def show(index: int, /, *, common: Common = DEFAULTS) -> None:
    """Show one entry with its changes, its cause and its place in the tree."""
    with common.client() as client:
        found = client.audit_entry(index)
    entry = found.entry
    common.show(
        found.raw,
        name=found.index,
        facts=[
            ("index", found.index),
            *((name, value) for name, value in entry.items() if name not in {"v", "changes"}),
            *((f"changed {cell(change.get('path'))}", _change(change)) for change in entry.get("changes", [])),
            ("leaf hash", found.leaf_hash),
            ("covered by", found.raw.get("covered_by")),
        ],
    )


@app.command("checkpoint")
def checkpoint(
    *,
    out: Annotated[Path | None, Option("Write the signed note into this file.", ("--out", "-o"))] = None,
    common: Common = DEFAULTS,
) -> None:
    """Show the newest checkpoint: the log's name, size and root hash, signed."""
    with common.client() as client:
        note = client.audit_checkpoint()
    if out is not None:
        out.write_bytes(note.encode())
    origin, size, root = note.split("\n")[:3]
    value = {"origin": origin, "size": int(size), "root_hash": b64decode(root).hex(), "note": note}
    signatures = [line for line in note.split("\n\n")[-1].splitlines() if line]
    common.show(
        value,
        name=size,
        facts=[
            ("origin", origin),
            ("size", size),
            ("root hash", value["root_hash"]),
            *(("signature", line) for line in signatures),
        ],
    )
    common.next("muniment audit prove INDEX -o entry.tlog-proof")


@app.part(
    "prove",
    "Prove that the log has an entry (by its index or event id), or that it has only grown since a size.",
    example="muniment audit prove 17 -o entry.tlog-proof",
).default
def prove(
    entry: str,
    to: int | None = None,
    /,
    *,
    consistency: Annotated[
        bool, Option("Prove that the log of the second size begins with that of the first: --consistency 100 250.")
    ] = False,
    out: Annotated[Path | None, Option("Write the receipt into this file.", ("--out", "-o"))] = None,
    common: Common = DEFAULTS,
) -> None:
    """Prove an entry or a growth."""
    if not consistency and to is not None:
        raise Usage("a receipt is for one entry", expected="INDEX or EVENT, or --consistency OLD NEW")
    if consistency and not entry.isdecimal():
        raise Usage("sizes are numbers of entries", expected="--consistency OLD NEW", actual=entry)
    with common.client() as client:
        if consistency:
            found = client.audit_consistency(int(entry), to)
            if out is not None:
                out.write_text(f"{dumps(found)}\n", "utf-8")
            common.show(found, name=found["to_root"], facts=found.items())
            return
        receipt = client.audit_receipt(int(entry) if entry.isdecimal() else entry)
    if out is not None:
        out.write_text(receipt, "utf-8")
    index = next(line.removeprefix("index ") for line in receipt.split("\n") if line.startswith("index "))
    common.show(
        {"index": int(index), "receipt": receipt, "file": None if out is None else str(out)},
        name=index if out is None else out,
        facts=[("index", index), ("receipt", receipt if out is None else out)],
    )
    if out is None:
        common.next(f"muniment audit prove {index} -o entry-{index}.tlog-proof")
    else:
        common.next("keep the file with what it proves; muniment audit keys ls shows the keys that verify it")


@app.part(
    "export",
    "Write an evidence pack: everything that the log says of a model between two times, with its proofs.",
    example="muniment audit export --model digits --from 2026-01-01T00:00:00Z --to 2026-04-01T00:00:00Z -o digits.tar",
).default
def export(
    *,
    model: str,
    output: Annotated[Path, Option("The file: a tar file that muniment-verify checks.", ("--output", "-o"))],
    since: Annotated[str | None, Option("From this time on (RFC 3339).", ("--from",))] = None,
    until: Annotated[str | None, Option("Before this time (RFC 3339).", ("--to",))] = None,
    common: Common = DEFAULTS,
) -> None:
    """Write an evidence pack."""
    with common.client() as client:
        made = client.audit_export(model, output, since=since, until=until)
    common.show(made, name=made["file"], facts=made.items())
    common.next(f"muniment-verify evidence {output} --key LOG_KEY (with the key that you were given, not the pack's)")


@app.part(
    "close-log",
    "Write the end of a log that gets no more entries: what the log that continues it begins with.",
    example="muniment audit close-log -o old-log.json",
).default
def close_log(
    *,
    output: Annotated[Path, Option("The file, for MUNIMENT_AUDIT__CONTINUES of the new log.", ("--output", "-o"))],
    common: Common = DEFAULTS,
) -> None:
    """Write the last checkpoint and the keys of a log. Refused while it still gets entries."""
    with common.client() as client:
        ending = client.audit_ending()
    output.write_text(f"{dumps(ending)}\n", "utf-8")
    common.show({**ending, "file": str(output)}, name=output, facts=[*ending.items(), ("file", output)])
    common.next(f"start the new log with MUNIMENT_AUDIT__CONTINUES={output} (docs/audit-keys.md)")


@keys_app.command("ls")
def ls_keys(*, common: Common = DEFAULTS) -> None:
    """List the log's keys, oldest first, as verifiers take them."""
    with common.client() as client:
        found = client.audit_keys()
    common.rows(
        found["items"],
        name=lambda item: item["vkey"],
        table=(
            ("KEY", lambda item: cell(item["vkey"])),
            ("ADDED", lambda item: moment(item.get("added_at"))),
            ("SIGNS UNTIL", lambda item: moment(item.get("signs_until"))),
            ("SIGNS", lambda item: cell(item.get("signs"))),
        ),
        limit=0,
        empty="the log has no key yet: it has one when the audit service has begun to publish",
    )


@keys_app.command("rotate")
def rotate(
    *,
    overlap_days: Annotated[int, Option("How long the keys before it sign beside it.")] = 30,
    common: Common = DEFAULTS,
) -> None:
    """Let a new key sign checkpoints. The rotation is an entry of the log itself."""
    with common.client() as client:
        made = client.rotate_audit_keys(overlap_days=overlap_days)
    common.show(made, name=made["vkey"], facts=made.items())
    common.say("back the key up where it is kept, and give the new public key to whoever verifies")
    common.next("muniment audit ls --action audit.key-rotated --newest")


def _change(change: Mapping[str, Any]) -> str:
    return f"{cell(change.get('before')) or '(nothing)'} -> {cell(change.get('after')) or '(nothing)'}"


@app.command("verify")
def verify(
    *,
    key: Annotated[
        tuple[str, ...], Option("A key of the log, NAME+ID+BASE64, or a file of keys; may be repeated.")
    ] = (),
    witness: Annotated[tuple[str, ...], Option("A key of a witness, or a file of keys; may be repeated.")] = (),
    require: Annotated[int | None, Option("How many of the witnesses must have cosigned; by default all.")] = None,
    only: Annotated[str | None, Option("Some layers alone: tiles,topic,postgres,objects.")] = None,
    json: Annotated[bool, Option("One JSON object on stdout.")] = False,
) -> int:
    """Hold tiles, topic, Postgres and object store against each other; 1 when one disagrees.

    Reads the parts themselves, by the settings of the server. Who trusts none of them takes `muniment-verify`.
    """
    from muniment.cli.commands.server import server_commands

    layers = () if only is None else tuple(word for word in only.split(",") if word)
    commands = server_commands()
    return int(
        commands.audit_verify(
            keys=[_text(one) for one in key],
            witnesses=[_text(one) for one in witness],
            require=require,
            only=layers,
            json=json,
        )
    )


def _text(place: str) -> str:
    """The text of a file of keys; a key is its own text."""
    from pathlib import Path

    return Path(place).read_text("utf-8") if Path(place).is_file() else place
