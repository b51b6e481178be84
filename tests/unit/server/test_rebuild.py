"""A log in a file: read by model, in its order, without holding it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from muniment.audit.merkle import leaf_hash
from muniment.audit.store import StoredEntry
from muniment.contracts.errors import Rejected
from muniment.server.rebuild import StoredLog, file_log


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


class OneRow:
    """A log of one row, as the tables hold it."""

    def __init__(self, data: bytes, leaf: bytes) -> None:
        self._row = StoredEntry(5, leaf, bytes(32), data)

    async def search(self, _: object, limit: int) -> list[StoredEntry]:
        assert limit > 1
        return [self._row]


@pytest.mark.parametrize("place", [2, 40, 90])
async def test_a_row_that_was_changed_is_not_rebuilt_from(place: int) -> None:
    data = json.dumps(json.loads(line(5, "digits"))["entry"]).encode()
    good: Any = StoredLog(OneRow(data, leaf_hash(data)))  # type: ignore[arg-type]  # reason: all that it asks for
    assert [entry.index async for entry in good.entries("digits")] == [5]
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    log: Any = StoredLog(OneRow(changed, leaf_hash(data)))  # type: ignore[arg-type]  # reason: as above
    with pytest.raises(Rejected) as caught:
        [entry async for entry in log.entries("digits")]
    assert caught.value.code == "entry_damaged"
    assert "entry 5" in caught.value.message
