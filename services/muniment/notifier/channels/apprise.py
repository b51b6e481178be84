"""More services through Apprise, an extra: one URL for each target, such as `discord://ID/TOKEN`.

Apprise makes its own connections, past our guarded client. So only URL schemes of services with a fixed host are taken
(a setting), and no query, whose options can name files to read or other hosts. It blocks: each call has a thread of a
small pool, which its own socket timeouts give back.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from typing import Any, Final
from uuid import UUID

from muniment.contracts.errors import Misconfigured, Rejected, Transient
from muniment.notifier.channels import Message, Request
from muniment.notifier.channels.notice import Notice, notice_of
from muniment.notifier.channels.secret_url import SecretUrl, checked_url, opened_url
from muniment.notifier.outbound import MAX_URL
from muniment.notifier.posting import Answer
from muniment.notifier.sealing import Sealer

_URL: Final = re.compile(r"([a-z][a-z0-9]{0,19})://[A-Za-z0-9._~:/@!$&'()*+;=%-]+")
_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class AppriseChannel(SecretUrl):
    """Sends notices as plain text through Apprise."""

    sealer: Sealer
    schemes: frozenset[str]
    """The URL schemes that may be named."""
    links_to: str | None = None
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="apprise")
    )

    def checked(self, given: Mapping[str, Any], owner: UUID, stored: Mapping[str, Any]) -> dict[str, Any]:
        """`{"sealed_url", "shown_url", "title"}`. Raises `Rejected` (`channel_unavailable`, `url_invalid`)."""
        if find_spec("apprise") is None:
            raise Rejected(
                "channel_unavailable", "Apprise is not installed here", hint="pip install 'muniment[apprise]'"
            )
        return checked_url(given, owner, stored, self.sealer, self._service)

    def request(self, message: Message, at: datetime) -> Request:
        """The title and text. Raises `Misconfigured` when the URL does not open."""
        notice = notice_of(json.loads(message.body), links_to=self.links_to, title=message.config.get("title"))
        return Request(
            url=opened_url(message.config, message.subscription_id, self.sealer),
            headers={"title": notice.title},
            body=_text(notice),
            method="NOTIFY",
            shown_url=str(message.config.get("shown_url")),
        )

    async def send(self, request: Request) -> Answer:
        """Hand it to Apprise. It says yes or no and nothing more. Raises `Transient`, `Misconfigured`, `Rejected`."""
        self._service(request.url)
        if find_spec("apprise") is None:
            raise Misconfigured(
                "channel_unavailable", "Apprise is not installed", hint="pip install 'muniment[apprise]'"
            )
        loop = asyncio.get_running_loop()
        taken = await loop.run_in_executor(self.threads, _notify, request.url, request.headers["title"], request.body)
        if not taken:
            raise Transient("apprise_failed", "Apprise could not deliver it; it tells no reason")
        return Answer(200, {}, b"")

    def _service(self, url: str) -> str:
        """The URL's scheme as people may see it. Raises `Rejected` (`url_invalid`)."""
        found = _URL.fullmatch(url) if len(url) <= MAX_URL else None
        if found is None or found[1] not in self.schemes:
            raise Rejected(
                "url_invalid",
                "the Apprise URL is not allowed",
                expected="SCHEME://... without query, where SCHEME is one of " + ", ".join(sorted(self.schemes)),
                actual=url.partition("://")[0][:40],
                hint="an operator allows more with MUNIMENT_NOTIFIER__APPRISE_SCHEMES",
            )
        return f"{found[1]}:/"


def _text(notice: Notice) -> str:
    lines = [notice.text] if notice.text else []
    return "\n".join([*lines, *(f"{label}: {value}" for label, value in (*notice.facts, *notice.links))])


def _notify(url: str, title: str, body: str) -> bool:
    import apprise  # here: an extra, and slow to import

    service = apprise.Apprise.instantiate(url)  # one URL: `add` would split a list and read files
    if service is None:
        return False
    return bool(service.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))
