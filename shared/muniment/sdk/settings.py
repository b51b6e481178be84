"""Where the server is and which token it takes: from arguments, the environment, or a credentials file.

A token that was read from a file goes only to the host which that file names, so that `MUNIMENT_URL` or an argument
cannot send somebody's token elsewhere.
"""

from __future__ import annotations

import ipaddress
import json
import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from muniment.contracts.errors import Misconfigured

SERVICES: Final = ("ingest", "checksum-validator", "registry", "audit", "notifier")


@dataclass(frozen=True, slots=True)
class Server:
    """The base URLs of a server (one, or one a service) and the token it is asked with."""

    url: str | None
    token: str | None = field(default=None, repr=False)
    urls: Mapping[str, str] = field(default_factory=dict)
    """Base URLs by service, where the services run in processes of their own; `url` answers for the rest."""

    def base(self, service: str) -> str:
        """The base URL of a service, without a slash at the end. Raises `Misconfigured` (`server_unknown`)."""
        base = self.urls.get(service) or self.url
        if base is None:
            raise _unknown(f"no URL for the service {service}; known: {', '.join(sorted(self.urls)) or 'none'}")
        return base


def find_server(
    url: str | None = None,
    token: str | None = None,
    *,
    credentials: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Server:
    """The server to talk to: arguments first, then `MUNIMENT_URL`, `MUNIMENT_URLS` and `MUNIMENT_TOKEN`, then a file.

    The file is the first there is of `MUNIMENT_CREDENTIALS`, `credentials.json` in `MUNIMENT_DATA_DIR` (or
    `.muniment`), and `~/.config/muniment/credentials.json`. Raises `Misconfigured` (`server_unknown`, `url_invalid`,
    `credentials_invalid`).
    """
    env = os.environ if environ is None else environ
    url = url or env.get("MUNIMENT_URL") or None
    token = token or env.get("MUNIMENT_TOKEN") or None
    urls = _urls(env.get("MUNIMENT_URLS", ""))
    if (url or urls) and token:
        return Server(url and _checked(url), token, urls)
    kept = _read_credentials(credentials, env)
    file_url = _checked(kept["url"]) if kept.get("url") else None
    if not url and not urls:
        if file_url is None:
            raise _unknown("neither an argument, the environment nor a credentials file names one")
        return Server(file_url, token or kept.get("token"))
    named = [*urls.values(), *([_checked(url)] if url else [])]
    if file_url is not None and all(_same_host(file_url, one) for one in named):
        token = token or kept.get("token")
    return Server(url and _checked(url), token, urls)


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine by its own spelling (`localhost`, 127.0.0.0/8, ::1)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same_host(one: str, other: str) -> bool:
    if is_loopback(one) and is_loopback(other):
        return True
    left, right = urlsplit(one), urlsplit(other)
    return (left.scheme, left.hostname) == (right.scheme, right.hostname)


def _urls(text: str) -> dict[str, str]:
    urls: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        service, equals, url = item.partition("=")
        if not equals or service not in SERVICES:
            raise Misconfigured(
                "url_invalid",
                "MUNIMENT_URLS is not as expected",
                expected=f"SERVICE=URL,... with services {', '.join(SERVICES)}",
                actual=repr(item),
            )
        urls[service] = _checked(url)
    return urls


def _checked(url: str) -> str:
    try:
        split = urlsplit(url)
        port_is_fine = split.port is None or split.port > 0
    except ValueError:
        port_is_fine = False
    if not port_is_fine or split.scheme not in {"http", "https"} or not split.hostname or split.query or split.fragment:
        raise Misconfigured("url_invalid", "the server's URL is not allowed", expected="http(s)://HOST[:PORT]")
    if split.username is not None or split.password is not None:
        raise Misconfigured("url_invalid", "the server's URL holds a user name; give the token as MUNIMENT_TOKEN")
    return url.rstrip("/")


def _unknown(why: str) -> Misconfigured:
    return Misconfigured(
        "server_unknown",
        f"no server is known: {why}",
        expected="MUNIMENT_URL and MUNIMENT_TOKEN, or a credentials file",
        hint="start one here with `muniment up`, or set MUNIMENT_URL and MUNIMENT_TOKEN",
    )


def _places(given: str | Path | None, env: Mapping[str, str]) -> list[Path]:
    if given or env.get("MUNIMENT_CREDENTIALS"):
        return [Path(given or env["MUNIMENT_CREDENTIALS"])]
    config = env.get("XDG_CONFIG_HOME") or Path(env.get("HOME") or Path.home()) / ".config"
    return [
        Path(env.get("MUNIMENT_DATA_DIR") or ".muniment") / "credentials.json",
        Path(config) / "muniment" / "credentials.json",
    ]


def _read_credentials(given: str | Path | None, env: Mapping[str, str]) -> dict[str, Any]:
    places = _places(given, env)
    for place in places:
        try:
            with place.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                raw = file.read(64 * 1024)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Misconfigured("credentials_invalid", f"{place} cannot be read: {error.strerror}") from error
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            warnings.warn(
                f"{place} holds a token and can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 {place}",
                UserWarning,
                stacklevel=4,
            )
        return _parsed(place, raw)
    if len(places) == 1:
        raise Misconfigured(
            "credentials_invalid", f"{places[0]} does not exist", hint="see --credentials, MUNIMENT_CREDENTIALS"
        )
    return {}


def _parsed(place: Path, raw: bytes) -> dict[str, Any]:
    try:
        kept = json.loads(raw)
    except ValueError:  # the cause is left out: its text quotes the file, and the file holds a token
        kept = None
    if not isinstance(kept, dict) or not all(isinstance(kept.get(name, ""), str) for name in ("url", "token")):
        raise Misconfigured(
            "credentials_invalid", f"{place} is not a credentials file", expected='{"url": "...", "token": "..."}'
        )
    return kept
