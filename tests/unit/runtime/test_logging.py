"""Log lines: for machines or people, with their context, and never with a secret in them."""

from __future__ import annotations

import errno
import io
import json
import logging as stdlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from muniment.runtime import logging
from muniment.runtime.identity.tokens import new_token

TOKEN, _ = new_token()
SECRETS = [
    TOKEN,
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "postgres://app:hunter2@db:5432/muniment",
    "https://s3/b/k?X-Amz-Credential=AKIA123%2F2026&X-Amz-Signature=0123456789abcdef&X-Amz-Expires=60",
]
HIDDEN = ["hunter2", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "0123456789abcdef", "AKIA123", TOKEN[4:]]


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = stdlib.getLogger()
    kept = (root.handlers[:], root.level)
    names = {name: (stdlib.getLogger(name).level, stdlib.getLogger(name).handlers[:]) for name in logging._QUIET}
    yield
    structlog.reset_defaults()
    root.handlers[:], level = kept
    root.setLevel(level)
    for name, (level, handlers) in names.items():
        stdlib.getLogger(name).setLevel(level)
        stdlib.getLogger(name).handlers[:] = handlers


def fail(why: str) -> None:
    raise RuntimeError(why)


def configured(form: Any = "json", level: Any = "info") -> io.StringIO:
    stream = io.StringIO()
    logging.configure(level, form, to=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_context() -> None:
    stream = configured()
    with bound_contextvars(service="ingest", request_id="r-1", model="digits"):
        structlog.get_logger().info("publication_accepted", files=3)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "publication_accepted",
        "level": "info",
        "files": 3,
        "service": "ingest",
        "request_id": "r-1",
        "model": "digits",
    }


def test_the_standard_librarys_loggers_take_the_same_way() -> None:
    stream = configured()
    with bound_contextvars(request_id="r-2"):
        stdlib.getLogger("some.library").warning("could not %s", "connect")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("could not connect", "warning", "some.library")
    assert line["request_id"] == "r-2"


@pytest.mark.parametrize("name", logging._QUIET)
def test_libraries_on_the_hot_path_are_quiet_below_warning(name: str) -> None:
    stream = configured(level="debug")
    stdlib.getLogger(name).info("chatter")
    stdlib.getLogger(name).warning("trouble")
    assert [line["event"] for line in lines(stream)] == ["trouble"]


def test_what_is_below_the_level_is_not_written() -> None:
    stream = configured(level="warning")
    structlog.get_logger().info("no")
    stdlib.getLogger("a.library").info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("secret", SECRETS, ids=["token", "secret", "dsn", "presigned"])
def test_a_secret_is_hidden_wherever_it_stands(form: str, secret: str) -> None:
    stream = configured(form)
    log = structlog.get_logger()
    message = f"in the message: {secret}"
    log.info(message)
    log.info("a", value=secret, nested={"deep": [{"er": secret}]}, object=ValueError(secret))
    stdlib.getLogger("lib").warning("as an argument: %s", secret)
    try:
        fail(f"in an exception: {secret}")
    except RuntimeError:
        log.exception("failed")
        stdlib.getLogger("lib").exception("failed there too")
    written = stream.getvalue()
    assert "RuntimeError" in written
    assert written.count("***") >= 6
    for hidden in HIDDEN:
        assert hidden not in written


@pytest.mark.parametrize(
    "name", ["token", "access_token", "Authorization", "s3_secret_key", "PASSWORD", "new_password"]
)
def test_a_field_with_a_secrets_name_is_hidden_whatever_its_form(name: str) -> None:
    stream = configured()
    given = {"list": [{name: "plain"}], "deep": {"er": {name: "plain"}}}
    structlog.get_logger().info("saved", **{name: "plain"}, given=given)
    assert "plain" not in stream.getvalue()
    assert lines(stream)[0][name] == "***"
    assert given["list"][0][name] == "plain"  # type: ignore[index]  # reason: what the caller holds stays as it is


def test_nesting_without_end_is_cut_off() -> None:
    stream = configured()
    deep: dict[str, Any] = {"password": "plain"}
    for _ in range(50):
        deep = {"inner": deep}
    structlog.get_logger().info("deep", value=deep)
    assert "plain" not in stream.getvalue()


def test_the_console_shows_a_traceback_without_warnings() -> None:
    stream = configured("console")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            fail("why")
        except RuntimeError:
            structlog.get_logger().exception("failed", file="a.bin")
    written = stream.getvalue()
    assert "failed" in written
    assert "RuntimeError: why" in written
    assert "\x1b[" not in written  # no colours where there is no terminal


def test_auto_is_json_without_a_terminal_and_console_on_one() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = configured("auto")
    structlog.get_logger().info("plain")
    assert lines(stream)[0]["event"] == "plain"
    terminal = Terminal()
    logging.configure("info", "auto", to=terminal)
    structlog.get_logger().info("plain")
    with pytest.raises(json.JSONDecodeError):
        json.loads(terminal.getvalue())


def test_values_that_are_no_json_do_not_lose_the_line() -> None:
    stream = configured()
    structlog.get_logger().info("odd", value=object(), raw=b"\xff", text="é\u2028\ud800")
    assert lines(stream)[0]["event"] == "odd"
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("text", ["", "plain", "http://host/path", "a mnt_ b", "user@host", "s3://bucket/key"])
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert logging.mask(text) == text


class FullDisk(io.StringIO):
    """Takes nothing while it is full."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_line_for_which_there_is_no_room_is_lost_and_nothing_else() -> None:
    stream = FullDisk()
    logging.configure("info", "json", to=stream)
    structlog.get_logger().warning("lost")
    stdlib.getLogger("library").warning("lost too")
    stream.full = False
    structlog.get_logger().warning("kept")
    assert [line["event"] for line in lines(stream)] == ["kept"]
