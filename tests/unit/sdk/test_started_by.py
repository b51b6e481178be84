"""What is recorded of the command that started a run: enough to start it again, and no secret."""

from __future__ import annotations

import sys

import pytest

from muniment.sdk.started_by import HIDDEN, MAX_CHARACTERS, started_by, without_secrets


def test_program_and_arguments_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", "-m", "digits.train", "--lr", "0.1", "two words"])
    assert started_by() == "python3 -m digits.train --lr 0.1 'two words'"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--api-key", "s3cret", "--lr", "1"], ["--api-key", HIDDEN, "--lr", "1"]),
        (["--db.password=s3cret"], [f"--db.password={HIDDEN}"]),
        (["TOKEN=s3cret"], [f"TOKEN={HIDDEN}"]),
        (["--hf_token", "s3cret"], ["--hf_token", HIDDEN]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["https://me:s3cret@host.test/a?x=1"], [f"https://{HIDDEN}@host.test/a?x=1"]),
        (["s3://b/k?X-Amz-Signature=s3cret&n=1"], [f"s3://b/k?X-Amz-Signature={HIDDEN}&n=1"]),
        (["ghp_abcdefghijklmnop"], [HIDDEN]),
        (["whsec_abcdef+ghij/klmnop=="], [HIDDEN]),
        (["--tokenizer", "bpe", "--max-tokens", "512"], ["--tokenizer", "bpe", "--max-tokens", "512"]),
        (["--key", "name", "--keys=3"], ["--key", "name", "--keys=3"]),
    ],
)
def test_what_looks_like_a_secret_is_left_out(given: list[str], kept: list[str]) -> None:
    assert list(without_secrets(given)) == kept


@pytest.mark.parametrize("script", ["import x\nprint(1)", "x" * MAX_CHARACTERS])
def test_what_no_field_can_hold_leaves_the_name(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python", "-c", script])
    monkeypatch.setattr(sys, "argv", ["/srv/train.py"])
    assert started_by() == "train.py"


def test_an_interactive_python_was_started_by_nothing_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python"])
    assert started_by() is None
