"""An operator's command finds the registry whose parts it reads, or says that there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muniment.cli.main import main


@pytest.mark.parametrize(
    "command", [("audit", "verify"), ("rebuild", "--into", "again"), ("migrate",), ("topics", "check")]
)
def test_a_folder_without_a_registry_is_told_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUNIMENT_DATA_DIR", raising=False)
    assert main([*command, "--json"]) == 2
    said = json.loads(capsys.readouterr().err)["error"]
    assert (said["code"], said["actual"]) == ("no_registry_here", str(tmp_path / ".muniment"))
    assert "MUNIMENT_DATA_DIR" in said["hint"]
    assert list(tmp_path.iterdir()) == []
