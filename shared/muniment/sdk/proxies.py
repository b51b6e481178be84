"""Which proxy is to be used for a URL: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, or the system's."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from muniment.contracts.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, and the headers that it wants."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def proxy_for(target: SplitResult) -> Proxy | None:
    """The proxy for a URL, or None. Raises `Misconfigured` (`proxy_unsupported`) for other kinds than HTTP."""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    chosen = proxies.get(target.scheme) or proxies.get("all")
    if not chosen or proxy_bypass(target.netloc):
        return None
    split = urlsplit(chosen if "://" in chosen else f"http://{chosen}")
    if split.scheme != "http" or not split.hostname:
        raise Misconfigured(
            "proxy_unsupported",
            "the environment names a proxy of another kind",
            expected="http://HOST:PORT in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY",
            actual=f"{split.scheme}://{split.hostname}",
            hint="name an HTTP proxy, or exempt the host in NO_PROXY",
        )
    headers = {}
    if split.username is not None:
        secret = f"{unquote(split.username)}:{unquote(split.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    return Proxy(split.hostname, split.port or 80, headers)
