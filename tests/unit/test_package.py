"""What is shipped: one wheel with everything in it, containers for every service, no secrets by default."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from muniment.server.wiring import chosen

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked where nothing of the checkout is."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_the_wheel_holds_every_module_and_file(installed: Path) -> None:
    shipped = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    for source in ("services", "shared"):
        for path in (ROOT / source).rglob("*"):
            if path.suffix in {".py", ".sql", ".json"} or path.name == "py.typed":
                assert str(path.relative_to(ROOT / source)) in shipped


def test_the_wheel_works_outside_the_checkout(installed: Path) -> None:
    # The checkout's own .pth comes last on the path, so what is imported is the wheel's.
    code = (
        "import importlib, pkgutil, muniment.contracts, muniment.server.wiring as w, muniment.cli.main;"
        "assert muniment.contracts.__file__.startswith(ROOT), muniment.contracts.__file__;"
        "names = [n for s in w.schemas(w.chosen(())) for m in s.migrations for n in m.glob('*.sql')];"
        "assert len(names) > 10 and all(str(n).startswith(ROOT) for n in names), names"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    subprocess.run(
        [sys.executable, "-c", f"ROOT={str(installed)!r};{code}"], env=environment, cwd=installed, check=True
    )


def test_every_service_has_a_container_and_none_has_a_default_secret() -> None:
    text = (ROOT / "compose.yaml").read_text()
    compose = yaml.safe_load(text)
    commands = {name: one.get("command") for name, one in compose["services"].items()}
    for service in chosen(()):
        assert commands[service.name] == ["run", service.name]
        assert compose["services"][service.name]["read_only"] is True
    for line in text.splitlines():
        if "PASSWORD" in line or "SECRET_KEY" in line:
            assert line.lstrip().startswith("#") or ":?" in line, line
    for one in compose["services"].values():
        assert all(str(port).startswith("127.0.0.1:") for port in one.get("ports", []))
    assert "USER 10001" in (ROOT / "deploy" / "Dockerfile").read_text()


def test_lock_files_have_hashes_and_no_hosts() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
