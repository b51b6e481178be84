"""`muniment audit ls|show`."""

from __future__ import annotations

from muniment.cli.session import DEFAULTS, Common, Limit, application
from muniment.cli.text import cell, moment

app = application(
    "muniment audit",
    "The audit log: who did what, when, with which changes, and what caused it.",
    example="muniment audit ls --model digits --action version.committed",
)


@app.command(name="ls")
def ls(
    *,
    model: str | None = None,
    action: str | None = None,
    operator: str | None = None,
    after_index: int | None = None,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """List entries in order."""
    with common.client() as client:
        entries = client.audit_entries(after_index=after_index, model=model, action=action, operator=operator)
        common.rows(
            (item.raw for item in entries),
            name=lambda item: item["index"],
            table=(
                ("INDEX", lambda item: cell(item["index"])),
                ("TIME", lambda item: moment(_of(item, "occurred_at") or _of(item, "time"))),
                ("OPERATOR", lambda item: cell(_of(item, "operator"))),
                ("ACTION", lambda item: cell(_of(item, "action"))),
                ("RESOURCE", lambda item: cell(_of(item, "resource"))),
                ("OUTCOME", lambda item: cell(_of(item, "outcome"))),
            ),
            limit=limit,
            empty="no entry fits",
        )
    common.next("muniment audit show INDEX")


@app.command(name="show")
def show(index: int, *, common: Common = DEFAULTS) -> None:
    """Show one entry with its changes, its cause and its place in the tree."""
    with common.client() as client:
        found = client.audit_entry(index)
    entry = found.raw.get("entry") or found.raw
    changes = entry.get("changes") or []
    shown = {name: value for name, value in {**found.raw, **entry}.items() if name not in {"entry", "changes"}}
    common.show(
        found.raw,
        name=found.index,
        facts=[
            *shown.items(),
            *(
                (f"changed {cell(change.get('path'))}", f"{cell(change.get('before'))} -> {cell(change.get('after'))}")
                for change in changes
            ),
        ],
    )


def _of(item: object, name: str) -> str | None:
    fields = item if isinstance(item, dict) else {}
    value = fields.get(name, (fields.get("entry") or {}).get(name))
    return None if value is None else str(value)
