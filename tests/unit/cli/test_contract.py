"""`muniment contract set`: what is not understood is refused before anything is asked of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run


@pytest.mark.parametrize(
    "tolerance",
    ["accuracy", "accuracy=", "=0.1", "-=0.1", "accuracy=nan", "accuracy=inf", "accuracy=-0.1", "a=x%", "a=-1%"],
)
def test_a_tolerance_is_a_metric_and_a_finite_amount(run: Run, tolerance: str) -> None:
    done = run("contract", "set", "digits", f"--tolerance={tolerance}", "--reason", "x", "--json")
    assert (done.code, done.error["error"]["code"]) == (2, "usage")
    assert "finite number" in done.error["error"]["expected"]


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"x"'])
def test_a_contract_file_is_a_json_object(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "contract.json"
    file.write_text(text)
    done = run("contract", "set", "digits", "--file", file, "--reason", "x", "--json")
    assert (done.code, done.error["error"]["expected"]) == (2, "a JSON object")
    assert str(file) in done.error["error"]["actual"]
