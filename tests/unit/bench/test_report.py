"""A run's stdout is JSON lines alone, and its first line lets figures of two machines be compared."""

import json

import pytest

from tests.bench.report import Report


def test_stdout_has_json_lines_alone(capsys: pytest.CaptureFixture[str]):
    report = Report()
    report.machine(mlflow="3.17.2")
    report.say("something takes a while")
    report.add("some_ms", 12.3456, "ms", n=3)
    out, err = capsys.readouterr()
    machine, figure = (json.loads(line) for line in out.splitlines())
    assert figure == {"metric": "some_ms", "value": 12.35, "unit": "ms", "n": 3}
    assert "something takes a while" in err
    assert {"python", "machine", "cores", "memory_gib", "commit", "at"} <= machine.keys()
    assert {"kafka", "postgres", "seaweedfs", "mlflow"} <= machine["versions"].keys()
    assert machine["versions"]["mlflow"] == "3.17.2"
    assert machine["calibration"].keys() == {"python_loop_million_per_s", "sha256_mib_per_s", "fdatasync_ms"}
    assert all(value > 0 for value in machine["calibration"].values())


def test_what_is_kept_is_what_was_printed(capsys: pytest.CaptureFixture[str], tmp_path):
    with (tmp_path / "kept.jsonl").open("w") as kept:
        Report(kept).quantiles("step", [0.001, 0.002, 0.003], points=(50, 99))
    assert (tmp_path / "kept.jsonl").read_text() == capsys.readouterr().out
    values = [json.loads(line)["value"] for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    assert values == [2.0, 3.0]
