"""Channels whose URL is itself a secret: sealed at rest, and shown by where it leads and a digest."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from muniment.contracts.errors import Rejected
from muniment.notifier.channels import merged
from muniment.notifier.channels.notice import check_title
from muniment.notifier.sealing import Sealer

_STORED: Final = frozenset({"sealed_url", "shown_url", "title"})


class SecretUrl:
    """What such channels have in common, beside `checked_url` and `opened_url`."""

    __slots__ = ()

    def shown(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Where it goes, without the URL's secret part."""
        return {name: config[name] for name in ("shown_url", "title") if name in config}

    def new_secret(self, config: Mapping[str, Any]) -> str | None:
        """None: whoever knows the URL may send, and nothing is signed."""
        return None


def checked_url(
    given: Mapping[str, Any], owner: UUID, stored: Mapping[str, Any], sealer: Sealer, origin: Callable[[str], str]
) -> dict[str, Any]:
    """`{"sealed_url", "shown_url", "title"}` as `Channel.checked` returns it; `origin` says where a URL leads.

    Raises `Rejected` (`url_invalid`, `setting_unknown`), and what `origin` and `check_title` raise.
    """
    settings = dict(given)
    url = settings.pop("url", None)
    if url is not None:
        settings["shown_url"] = masked(url, origin(url))
        settings["sealed_url"] = base64.b64encode(sealer.seal(url, owner)).decode()
    config = merged(settings, stored, _STORED)
    if "title" in config:
        check_title(config["title"])
    if "sealed_url" not in config:
        raise Rejected("url_invalid", "the channel needs a URL", expected="url", actual="none")
    return config


def opened_url(config: Mapping[str, Any], owner: UUID, sealer: Sealer) -> str:
    """The URL as it was given. Raises `Misconfigured` (`secret_unreadable`)."""
    return sealer.open(base64.b64decode(str(config.get("sealed_url"))), owner)


def masked(url: str, origin: str) -> str:
    """Where a URL leads, and the digest of the whole: what may be shown of one whose path is a secret."""
    return f"{origin}/… (sha256 {sha256(url.encode()).hexdigest()[:16]})"
