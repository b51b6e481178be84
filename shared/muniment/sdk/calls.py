"""Every operation of the HTTP surface as a call without I/O (`exchange.Call`), one function each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from muniment.contracts.errors import Conflict, MunimentError, Transient
from muniment.contracts.reference import Reference, parse_reference
from muniment.sdk.exchange import Call, Listing, Pause, Request, ask, ask_json, request
from muniment.sdk.problems import PublicationRejected
from muniment.sdk.records import AuditEntry, Model, Publication, RemoteFile, Version

LONGEST_POLL_S: Final = 60.0
_SHORTEST_POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Started:
    """A publication that was begun: its id, and for each file whether it is held or where to put it."""

    id: str
    files: list[dict[str, Any]]


# -- publications


def begin(body: Mapping[str, Any], key: str) -> Call[Started]:
    """Begin a publication; the same key gives the same one."""
    value = yield from ask_json(request("ingest", "POST", "/publications", body=body, key=key))
    return Started(_id_of(value["publication"]), list(value["files"]))


def slots(publication_id: str) -> Call[list[dict[str, Any]]]:
    """Where to put what is still missing, with fresh URLs."""
    value = yield from ask_json(request("ingest", "GET", f"/publications/{publication_id}/slots"))
    return list(value["files"])


def complete(publication_id: str, files: Sequence[Mapping[str, Any]]) -> Call[None]:
    """Say that all bytes are there. When the answer is lost or says "too late", the publication itself is asked."""
    wanted = request(
        "ingest",
        "POST",
        f"/publications/{publication_id}/complete",
        body={"files": list(files)},
        key=f"complete-{publication_id}",
    )
    try:
        yield from ask_json(wanted)
    except (Conflict, Transient) as error:
        try:
            now = yield from publication(publication_id)
        except MunimentError:
            raise error from None
        if now.stage == "uploading":
            raise


def publication(publication_id: str, wait: float = 0.0) -> Call[Publication]:
    """A publication's stage; with `wait` (seconds, at most 60) the answer comes when it is settled or time is up."""
    held = min(wait, LONGEST_POLL_S)
    wanted = request(
        "ingest",
        "GET",
        f"/publications/{quote(publication_id, safe='')}",
        query={"wait": f"{held:g}" if held > 0 else None},
        wait=held,
    )
    return Publication.of((yield from ask_json(wanted)))


def settled(
    publication_id: str,
    timeout: float,
    *,
    watch: Callable[[Publication], None] | None = None,
) -> Call[Publication]:
    """The publication once it is committed or a candidate.

    Raises `PublicationRejected` where it ended otherwise, and `Transient` (`wait_timeout`) after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    poll = 1.0 if watch else 30.0
    while True:
        asked = time.monotonic()
        left = deadline - asked
        now = yield from publication(publication_id, wait=max(0.0, min(poll, left)))
        if watch:
            watch(now)
        if now.stage in {"rejected", "abandoned"}:
            raise PublicationRejected(
                publication_id,
                now.rejection or {"code": f"publication_{now.stage}", "message": f"the publication was {now.stage}"},
            )
        if now.is_settled:
            return now
        if left <= 0:
            raise Transient(
                "wait_timeout",
                f"the publication {publication_id} is not settled yet",
                expected=f"an outcome within {timeout:g} s",
                actual=f"stage {now.stage}",
                hint=f"it goes on without you; look again: muniment publications show {publication_id}",
            )
        if time.monotonic() - asked < _SHORTEST_POLL_S:  # it did not hold the answer back: do not hammer it
            yield Pause(_SHORTEST_POLL_S)


def abandon(publication_id: str) -> Call[None]:
    """Give an upload up."""
    yield from ask(request("ingest", "DELETE", f"/publications/{quote(publication_id, safe='')}"))


def commit(publication_id: str, fields: Mapping[str, Any]) -> Call[Version]:
    """Commit a candidate. Doing it again changes nothing."""
    place = f"/candidates/{quote(publication_id, safe='')}/commit"
    given = {name: value for name, value in fields.items() if value is not None}
    return Version.of((yield from ask_json(request("registry", "POST", place, body=given, safe=True))))


def refuse(publication_id: str, reason: str) -> Call[None]:
    """Refuse a candidate. Doing it again changes nothing."""
    place = f"/candidates/{quote(publication_id, safe='')}/refuse"
    yield from ask(request("registry", "POST", place, body={"reason": reason}, safe=True))


# -- models and versions


def model(name: str) -> Call[Model]:
    """One model."""
    return Model.of((yield from ask_json(request("registry", "GET", f"/models/{quote(name, safe='')}"))))


def branches(name: str, at: str | None = None) -> Listing:
    """The branches of a model."""
    return Listing("registry", f"/models/{quote(name, safe='')}/branches", {"at": at})


def versions(name: str, branch: str | None, at: str | None = None) -> Listing:
    """The versions of a model, newest first."""
    return Listing("registry", f"/models/{quote(name, safe='')}/versions", {"branch": branch, "at": at})


def log(ref: str, at: str | None = None) -> Listing:
    """The versions on the way back from a reference along its branch."""
    wanted = parsed(ref)
    return Listing("registry", f"/models/{quote(wanted.model, safe='')}/log", {"ref": str(wanted), "at": at})


def version(ref: str, at: str | None = None) -> Call[Version]:
    """The version that a reference means, or meant at a moment."""
    if at is None:
        value = yield from ask_json(request("registry", "GET", f"/versions/{_place(ref)}"))
    else:
        value = yield from ask_json(request("registry", "GET", "/resolve", query={"ref": str(parsed(ref)), "at": at}))
    return Version.of({"model": parsed(ref).model, **value})


def manifest(ref: str) -> Call[bytes]:
    """A version's manifest, byte by byte as it was hashed."""
    answer = yield from ask(request("registry", "GET", f"/versions/{_place(ref)}/manifest"))
    return answer.body


def files(ref: str, *, force: bool = False) -> Call[list[RemoteFile]]:
    """A version's files with presigned URLs; with `force` of a damaged one, too."""
    wanted = request("registry", "GET", f"/versions/{_place(ref)}/files", query={"force": force or None})
    value = yield from ask_json(wanted)
    return [RemoteFile.of(item) for item in value["files"]]


def parsed(ref: str) -> Reference:
    """A reference as people write it, `models:/digits/3` included. Raises `Rejected` (`reference_invalid`, ...)."""
    return parse_reference(ref.removeprefix("models:/"))


def _place(ref: str) -> str:
    return quote(str(parsed(ref)), safe="")


# -- audit and events


def audit_entry(index: int) -> Call[AuditEntry]:
    """One audit entry."""
    return AuditEntry.of((yield from ask_json(request("audit", "GET", f"/audit/entries/{index:d}"))))


# -- things that are made, shown, changed and taken away


@dataclass(frozen=True, slots=True)
class Resource:
    """A collection with the usual five operations; its objects are plain JSON objects."""

    service: str
    path: str

    def list(self, **query: object) -> Listing:
        """All of them, in pages."""
        return Listing(self.service, self.path, query)

    def create(self, body: Mapping[str, Any]) -> Call[Any]:
        """Make one. Not repeated when the answer is lost: the outcome is then unknown, and the error says so."""
        return (yield from ask_json(request(self.service, "POST", self.path, body=body)))

    def show(self, name: str) -> Call[Any]:
        """One of them."""
        return (yield from ask_json(self._one("GET", name)))

    def change(self, name: str, body: Mapping[str, Any]) -> Call[Any]:
        """Change the fields that are given."""
        place = f"{self.path}/{quote(name, safe='')}"
        return (yield from ask_json(request(self.service, "PATCH", place, body=body)))

    def delete(self, name: str) -> Call[None]:
        """Take one away."""
        yield from ask(self._one("DELETE", name))

    def act(self, name: str, verb: str, body: object = None) -> Call[Any]:
        """Do something with one of them."""
        place = f"{self.path}/{quote(name, safe='')}/{verb}"
        return (yield from ask_json(request(self.service, "POST", place, body=body)))

    def part(self, name: str, part: str, **query: object) -> Listing:
        """A list that belongs to one of them."""
        return Listing(self.service, f"{self.path}/{quote(name, safe='')}/{part}", query)

    def _one(self, method: str, name: str) -> Request:
        return request(self.service, method, f"{self.path}/{quote(name, safe='')}")


SUBSCRIPTIONS: Final = Resource("notifier", "/subscriptions")
TOKENS: Final = Resource("registry", "/tokens")
PUBLISHER_KEYS: Final = Resource("registry", "/publisher-keys")


def dead_letters(service: str) -> Resource:
    """The dead letters of one service, which that service shows itself."""
    return Resource(service, f"/dead-letters/{quote(service, safe='')}")


def retry_delivery(delivery_id: str) -> Call[None]:
    """Deliver a dead or waiting delivery now."""
    yield from ask(request("notifier", "POST", f"/deliveries/{quote(delivery_id, safe='')}/retry"))


def preview(wanted: Mapping[str, Any]) -> Call[Any]:
    """One page of what a filter would have matched."""
    return (yield from ask_json(request("notifier", "POST", "/subscriptions/preview", body=wanted)))


def replay(subscription_id: str, start: Mapping[str, Any], *, force: bool) -> Call[dict[str, Any]]:
    """Deliver past events of a subscription, step by step; what all steps did together."""
    total: dict[str, Any] = {"queued": 0, "again": 0, "kept": 0, "pruned": False}
    wanted = {**start, "force": force}
    while True:
        seen = yield from SUBSCRIPTIONS.act(subscription_id, "replay", wanted)
        for name in ("queued", "again", "kept"):
            total[name] += seen[name]
        total = {**total, "pruned": total["pruned"] or seen["pruned"], "cursor": seen["cursor"]}
        if seen["complete"]:
            return total
        wanted = {"after": seen["cursor"], "force": force}


def server_version() -> Call[Any]:
    """What the server says it is."""
    return (yield from ask_json(Request("registry", "GET", "/version")))


def _id_of(value: Any) -> str:
    return str(value["id"] if isinstance(value, dict) else value)
