from __future__ import annotations

import json
from pathlib import Path

import pytest

from muniment.contracts.errors import Misconfigured
from muniment.sdk.settings import find_server, is_loopback


def keep(place: Path, mode: int = 0o600, **fields: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(fields))
    place.chmod(mode)


def test_arguments_win_over_the_environment() -> None:
    env = {"MUNIMENT_URL": "http://env.test", "MUNIMENT_TOKEN": "from-env"}
    server = find_server("https://given.test/", "given", environ=env)
    assert (server.url, server.token) == ("https://given.test", "given")
    server = find_server(environ=env)
    assert (server.url, server.token) == ("http://env.test", "from-env")


def test_the_credentials_file_of_the_data_directory_comes_before_the_users(tmp_path: Path) -> None:
    keep(tmp_path / "data" / "credentials.json", url="http://127.0.0.1:1", token="data")
    keep(tmp_path / "home" / ".config" / "muniment" / "credentials.json", url="http://127.0.0.1:2", token="home")
    env = {"HOME": str(tmp_path / "home"), "MUNIMENT_DATA_DIR": str(tmp_path / "data")}
    assert find_server(environ=env).token == "data"
    assert find_server(environ={"HOME": str(tmp_path / "home")}).token == "home"


def test_the_working_directory_is_looked_at(machine: Path) -> None:
    keep(machine / ".muniment" / "credentials.json", url="http://127.0.0.1:1", token="here")
    assert find_server(environ={"HOME": "/nowhere"}).token == "here"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        find_server(environ={"MUNIMENT_CREDENTIALS": str(tmp_path / "none.json")})
    assert caught.value.code == "credentials_invalid"


def test_nothing_known_says_what_to_do() -> None:
    with pytest.raises(Misconfigured) as caught:
        find_server(environ={"HOME": "/nowhere"})
    assert caught.value.code == "server_unknown"
    assert "muniment up" in str(caught.value.hint)


def test_a_files_token_goes_only_to_the_files_host(tmp_path: Path) -> None:
    place = tmp_path / "c.json"
    keep(place, url="https://registry.example:8443", token="precious")
    env = {"MUNIMENT_CREDENTIALS": str(place)}
    assert find_server("https://registry.example", environ=env).token == "precious"
    assert find_server("https://evil.example", environ=env).token is None
    assert find_server("http://registry.example:8443", environ=env).token is None, "not without encryption either"
    keep(place, url="http://127.0.0.1:8686", token="precious")
    assert find_server("http://localhost:9999", environ=env).token == "precious"
    mixed = {"MUNIMENT_URLS": "ingest=http://127.0.0.1:1,registry=https://evil.example", **env}
    assert find_server(environ=mixed).token is None, "one stranger among the services is one too many"


def test_services_in_processes_of_their_own() -> None:
    env = {"MUNIMENT_URLS": "ingest=http://a.test, registry=http://b.test/", "MUNIMENT_TOKEN": "t"}
    server = find_server(environ=env)
    assert server.base("ingest") == "http://a.test"
    assert server.base("registry") == "http://b.test"
    with pytest.raises(Misconfigured, match="no URL for the service audit"):
        server.base("audit")
    assert find_server("http://rest.test", environ=env).base("audit") == "http://rest.test"


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x.test", "http://", "x.test", "http://user:pw@x.test", "http://x.test:99999", "http://x.test?q=1"],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        find_server(environ={"MUNIMENT_URLS": f"ingest={url}", "MUNIMENT_TOKEN": "t"})
    assert caught.value.code == "url_invalid"
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("text", ["ingest", "ingest:http://a.test", "nobody=http://a.test"])
def test_service_urls_that_are_not_understood(text: str) -> None:
    with pytest.raises(Misconfigured):
        find_server(environ={"MUNIMENT_URLS": text, "MUNIMENT_TOKEN": "t"})


def test_a_file_that_others_can_read_is_told(tmp_path: Path) -> None:
    place = tmp_path / "c.json"
    keep(place, mode=0o640, url="http://127.0.0.1:1", token="t")
    with pytest.warns(UserWarning, match=r"mode 0640.*chmod 600"):
        find_server(environ={"MUNIMENT_CREDENTIALS": str(place)})


@pytest.mark.parametrize("content", ["", "[]", '{"url": 1}', '{"token": "precious", '])
def test_a_broken_file_is_told_without_its_content(tmp_path: Path, content: str) -> None:
    place = tmp_path / "c.json"
    place.write_text(content)
    place.chmod(0o600)
    with pytest.raises(Misconfigured) as caught:
        find_server(environ={"MUNIMENT_CREDENTIALS": str(place)})
    assert caught.value.code == "credentials_invalid"
    assert caught.value.__cause__ is None
    assert "precious" not in str(caught.value)


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(find_server("http://x.test", "secret", environ={}))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://127.0.0.1.evil.test", False),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
