from __future__ import annotations

import os
from pathlib import Path

import pytest

from muniment.contracts import manifest
from muniment.contracts.errors import MunimentError, NotFound, Rejected, TooLarge
from muniment.sdk.transfer import scan as scanning
from muniment.sdk.transfer.scan import scan


def paths(folder: Path) -> list[str]:
    return [file.path for file in scan(folder).files]


def test_files_come_in_order_with_their_sizes(folder: Path) -> None:
    found = scan(folder)
    assert [(file.path, file.size) for file in found.files] == [("config.json", 13), ("weights/model.bin", 4096)]
    assert found.skipped == []


def test_hidden_ones_are_left_out_and_listed(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    (folder / "weights" / ".cache").write_text("x")
    assert paths(folder) == ["config.json", "weights/model.bin"]
    assert scan(folder).skipped == [".git", "weights/.cache"]


def test_links_are_followed_inside(folder: Path) -> None:
    (folder / "best").symlink_to("weights")
    (folder / "latest.bin").symlink_to("weights/model.bin")
    assert paths(folder) == ["best/model.bin", "config.json", "latest.bin", "weights/model.bin"]


def test_links_that_leave_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (folder / "leak").symlink_to(tmp_path / "secret")
    with pytest.raises(Rejected) as caught:
        scan(folder)
    assert caught.value.code == "file_link_outside"


def test_a_sibling_with_the_same_beginning_is_outside(folder: Path) -> None:
    sibling = folder.with_name("out-2")
    sibling.mkdir()
    (sibling / "x").write_text("x")
    (folder / "leak").symlink_to(sibling)
    with pytest.raises(Rejected) as caught:
        scan(folder)
    assert caught.value.code == "file_link_outside"


def test_a_loop_ends(folder: Path) -> None:
    (folder / "weights" / "again").symlink_to(folder)
    with pytest.raises(Rejected) as caught:
        scan(folder)
    assert caught.value.code == "file_link_loop"


def test_a_broken_link_is_told(folder: Path) -> None:
    (folder / "gone").symlink_to("nothing")
    with pytest.raises(NotFound) as caught:
        scan(folder)
    assert caught.value.code == "file_missing"


def test_what_is_no_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(Rejected) as caught:
        scan(folder)
    assert caught.value.code == "file_not_regular"


def test_names_that_differ_in_case_only(folder: Path) -> None:
    (folder / "Config.json").write_text("x")
    if len(list(folder.glob("[cC]onfig.json"))) < 2:
        pytest.skip("this file system does not tell case apart")
    with pytest.raises(Rejected) as caught:
        scan(folder)
    assert caught.value.code == "file_path_repeated"


@pytest.mark.parametrize("name", ["tab\there", "a\\b", "\u202eexe.txt", " space"])
def test_names_that_no_version_may_have(folder: Path, name: str) -> None:
    (folder / name).write_text("x")
    with pytest.raises(Rejected) as caught:
        scan(folder)
    assert caught.value.code == "file_path_invalid"


def test_a_name_that_is_no_text(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9")).write_text("x")
    with pytest.raises(Rejected) as caught:
        scan(folder)
    assert caught.value.code == "file_path_invalid"


def test_too_many_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "MAX_FILES", 1)
    with pytest.raises(TooLarge) as caught:
        scan(folder)
    assert caught.value.code == "too_many_files"


def test_the_limit_is_the_contracts() -> None:
    assert scanning.MAX_FILES == manifest.MAX_FILES


def test_one_file_several_files_and_given_names(folder: Path) -> None:
    config, weights = folder / "config.json", folder / "weights" / "model.bin"
    assert paths(config) == ["config.json"]
    assert [file.path for file in scan([weights, str(config)]).files] == ["config.json", "model.bin"]
    assert [file.path for file in scan({"a/b.bin": weights}).files] == ["a/b.bin"]
    with pytest.raises(Rejected) as caught:
        scan([config, folder / "weights" / ".." / "config.json"])
    assert caught.value.code == "file_path_repeated"


@pytest.mark.parametrize("name", ["../up", "/abs", "a//b", ""])
def test_given_names_stay_inside_the_version(folder: Path, name: str) -> None:
    with pytest.raises(Rejected) as caught:
        scan({name: folder / "config.json"})
    assert caught.value.code == "file_path_invalid"


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Rejected) as caught:
        scan(tmp_path / "empty")
    assert caught.value.code == "no_files"
    with pytest.raises(MunimentError) as missing:
        scan(tmp_path / "nowhere")
    assert missing.value.code == "file_missing"
