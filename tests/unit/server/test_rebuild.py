"""A log in a file: read by model, in its order, without holding it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from muniment.contracts.errors import Rejected
from muniment.server.rebuild import file_log


def line(index: int, model: str | None, **more: Any) -> str:
    entry = {
        "service": "registry",
        "outcome": "done",
        "action": "branch.closed",
        "resource": f"models/{model}/branches/main",
        "operator": "muniment|ada",
        "authenticated_by": "token",
        "cause": {"kind": "request", "id": "r"},
        "event_time": "2026-01-02T03:04:05.000006Z",
        **({} if model is None else {"model": model}),
        **more,
    }
    return json.dumps({"index": index, "leaf_hash": "0" * 64, "entry": entry}, ensure_ascii=False)


async def test_each_model_gets_its_entries_in_the_order_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "entries.jsonl"
    lines = [
        line(0, "digits", reason="größer"),
        line(1, "other"),
        line(2, None, action="token.created"),
        line(3, "digits", service="ingest"),
        line(4, "digits", outcome="refused"),
        line(5, "DIGITS"),
        line(6, None, action="lineage.received", resource="lineage/runs/7"),
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    log = file_log(path)
    assert sorted(await log.models()) == ["digits", "other"]
    assert [entry.index async for entry in log.entries("Digits")] == [0, 5]
    assert [entry.index async for entry in log.entries("none")] == []
    assert [entry.index async for entry in log.received()] == [6]


@pytest.mark.parametrize("wrong", ["no json", "[]", '{"index": 1}', '{"index": 1, "entry": {"service": "registry"}}'])
def test_a_line_that_is_no_entry_is_named_by_its_place(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "entries.jsonl"
    path.write_text(line(0, "digits") + "\n" + wrong + "\n")
    with pytest.raises(Rejected, match=f"at byte {len(line(0, 'digits')) + 1}") as caught:
        file_log(path)
    assert caught.value.code == "entries_invalid"
