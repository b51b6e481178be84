"""A registry in memory that listens on loopback, for tests of the SDK and of programs that use it.

    with FakeRegistry().serving() as registry:
        client = Client(registry.url, "a token")

It keeps to the HTTP surface, stores bytes, checks digests, numbers versions; it has no identity, audit or notification.
`intercept` sees every request first and may answer it, raise `Hangup` or a `MunimentError`, or let it pass.
"""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import httpx2

from muniment.contracts.errors import Conflict, MunimentError, NotFound, Unauthenticated
from muniment.contracts.events import TrainingCompleted
from muniment.contracts.manifest import Manifest, ManifestFile, manifest_bytes, manifest_id
from muniment.contracts.reference import parse_reference

Json = dict[str, Any]
Intercept = Callable[[httpx2.Request], httpx2.Response | None]


class Hangup(Exception):
    """The connection is closed without an answer."""


class FakeRegistry:
    """The services' HTTP surface and an object store, one object."""

    def __init__(self, *, single_put_max: int = 64 * 1024, part_size: int = 64 * 1024) -> None:
        self.url = ""
        self.single_put_max = single_put_max
        self.part_size = part_size
        self.requests: list[tuple[str, str]] = []
        self.intercept: Intercept = lambda _request: None
        self.objects: dict[str, list[bytes]] = {}
        """Versions of objects by key; a version-id is `v` and its place, from 1."""
        self.parts: dict[str, dict[int, bytes]] = {}
        self.publications: dict[str, Json] = {}
        self.versions: list[Json] = []
        self.lists: dict[str, list[Json]] = {}
        """What the paths of other lists answer, page by page of two."""
        self.events: list[Json] = []
        """CloudEvents in structured JSON; an event's cursor is its place, from 1."""
        self._declared: dict[str, TrainingCompleted] = {}
        self._keys: dict[str, str] = {}

    @contextmanager
    def serving(self) -> Iterator[FakeRegistry]:
        """Listen on a free port of loopback while the block runs; `url` says where."""
        server = _Server(("127.0.0.1", 0), _handler_for(self))
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    @property
    def store_url(self) -> str:
        """Where its presigned URLs begin."""
        return f"{self.url}/store"

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        self.requests.append((request.method, request.url.path))
        try:
            found = self.intercept(request)
            if found is not None:
                return found
            if str(request.url).startswith(self.store_url):
                return self._store(request)
            return self._api(request)
        except MunimentError as error:
            return problem(error)

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had this in their path."""
        return sum(asked == method and part in path for asked, path in self.requests)

    # -- the object store

    def _store(self, request: httpx2.Request) -> httpx2.Response:
        if "authorization" in request.headers:
            return httpx2.Response(400, text="<Error><Code>InvalidArgument</Code></Error>")
        key, query = "/" + request.url.path.rpartition("/")[2], request.url.params
        if request.method == "PUT":
            body = request.read()
            if "part" in query:
                self.parts[query["upload"]][int(query["part"])] = body
                return httpx2.Response(
                    200, headers={"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'}
                )
            self.objects.setdefault(key, []).append(body)
            return httpx2.Response(200, headers={"x-amz-version-id": f"v{len(self.objects[key])}"})
        versions = self.objects.get(key, [])
        place = int(query["version"][1:]) if "version" in query else len(versions)
        if not 0 < place <= len(versions):
            return httpx2.Response(404, text="<Error><Code>NoSuchKey</Code></Error>")
        body = versions[place - 1]
        if "range" in request.headers:
            first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
            return httpx2.Response(206, content=body[int(first) : int(last) + 1 if last else None])
        return httpx2.Response(200, content=body)

    # -- the API

    def _api(self, request: httpx2.Request) -> httpx2.Response:
        if not request.headers.get("authorization", "").startswith("Bearer "):
            raise Unauthenticated("token_missing", "no token was given")
        method = request.method
        raw = request.url.raw_path.decode().partition("?")[0]
        path = [unquote(part) for part in raw.removeprefix("/api/v1/").split("/")]
        body = json.loads(request.read() or b"{}")
        match method, path:
            case "POST", ["publications"]:
                return httpx2.Response(201, json=self._begin(body, request.headers.get("idempotency-key")))
            case "GET", ["publications", publication, "slots"]:
                return httpx2.Response(200, json={"files": self._slots(publication)})
            case "POST", ["publications", publication, "complete"]:
                self._complete(publication, body)
                return httpx2.Response(202, json={"publication": publication})
            case "GET", ["publications", publication]:
                return httpx2.Response(200, json=self._publication(publication))
            case "DELETE", ["publications", publication]:
                self._publication(publication)["stage"] = "abandoned"
                return httpx2.Response(204)
            case "POST", ["candidates", publication, "commit"]:
                return httpx2.Response(200, json=self._commit(publication, body))
            case "GET", ["versions", ref]:
                version = self._version(ref)
                return httpx2.Response(200, json={k: v for k, v in version.items() if k != "text"})
            case "GET", ["versions", ref, "manifest"]:
                return httpx2.Response(200, content=self._version(ref)["text"])
            case "GET", ["versions", ref, "files"]:
                return httpx2.Response(200, json={"files": self._downloads(self._version(ref))})
            case "GET", ["models", model, "versions" | "log"]:
                mine = [one for one in reversed(self.versions) if one["model"] == model]
                return self._page(request, [{k: v for k, v in one.items() if k != "text"} for one in mine])
            case "GET", ["events", "stream"]:
                return self._stream(request)
            case "GET", _ if "/".join(path) in self.lists:
                return self._page(request, self.lists["/".join(path)])
            case _:
                raise NotFound("route_not_found", f"{method} {raw} is not answered here")

    def _stream(self, request: httpx2.Request) -> httpx2.Response:
        """What is there as server-sent events, and their end: who follows comes back for more."""
        asked = request.headers.get("last-event-id") or request.url.params.get("since") or str(len(self.events))
        after = 0 if asked == "beginning" else int(asked)
        lines = [f"id: {after}", ""]
        for cursor, event in enumerate(self.events, start=1):
            if cursor > after:
                lines += [f"id: {cursor}", f"data: {json.dumps(event)}", ""]
        if request.url.params.get("follow") == "false":
            lines += ["event: end", "data: {}", ""]
        return httpx2.Response(200, text="\n".join([*lines, ""]), headers={"content-type": "text/event-stream"})

    def _page(self, request: httpx2.Request, items: list[Json]) -> httpx2.Response:
        start = int(request.url.params.get("page_token", 0))
        more = str(start + 2) if start + 2 < len(items) else None
        return httpx2.Response(200, json={"items": items[start : start + 2], "next_page_token": more})

    # -- publications

    def _begin(self, body: Json, key: str | None) -> Json:
        declared = TrainingCompleted.model_validate(body)
        publication = self._keys.get(key or "") or str(uuid.uuid4())
        if key is not None:
            self._keys[key] = publication
        if publication not in self.publications:
            self._declared[publication] = declared
            self.publications[publication] = {
                "id": publication,
                "model": declared.model,
                "branch": declared.branch,
                "commit": declared.commit,
                "stage": "uploading",
                "version": None,
                "rejection": None,
                "progress": None,
            }
        return {"publication": self.publications[publication], "files": self._slots(publication)}

    def _publication(self, publication: str) -> Json:
        if publication not in self.publications:
            raise NotFound("publication_not_found", "there is no such publication", actual=publication)
        return self.publications[publication]

    def _slots(self, publication: str) -> list[Json]:
        slots, seen = [], set()
        for file in self._declared[publication].files:
            held = f"/{file.sha256}" in self.objects or file.sha256 in seen
            seen.add(file.sha256)
            upload = None if held else self._slot(publication, file.sha256, file.size)
            slots.append({"path": file.path, "sha256": file.sha256, "size": file.size, "held": held, "upload": upload})
        return slots

    def _slot(self, publication: str, sha256: str, size: int) -> Json:
        place = f"{self.store_url}/{sha256}?signature={len(self.requests)}"
        if size <= self.single_put_max:
            return {"kind": "single", "method": "PUT", "url": place, "headers": {}}
        upload = f"{publication}-{sha256[:8]}"
        there = self.parts.setdefault(upload, {})
        numbers = range(1, -(-size // self.part_size) + 1)
        return {
            "kind": "multipart",
            "upload_id": upload,
            "part_size": self.part_size,
            "parts": [
                {
                    "number": number,
                    "url": f"{place}&upload={upload}&part={number}",
                    "done": number in there,
                    "etag": '"known"' if number in there else None,
                }
                for number in numbers
            ],
        }

    def _complete(self, publication: str, body: Json) -> None:
        known = self._publication(publication)
        if known["stage"] != "uploading":
            if known["stage"] == "abandoned":
                raise Conflict("publication_closed", "the publication was abandoned")
            return
        declared = {file.path: file for file in self._declared[publication].files}
        for said in body["files"]:
            if "parts" in said:
                file = declared[said["path"]]
                there = self.parts[f"{publication}-{file.sha256[:8]}"]
                joined = b"".join(there[part["number"]] for part in said["parts"])
                self.objects.setdefault(f"/{file.sha256}", []).append(joined)
        for file in declared.values():
            stored = self.objects.get(f"/{file.sha256}")
            if not stored:
                raise Conflict("upload_missing", f"the bytes of {file.path} are not in the store")
            actual = hashlib.sha256(stored[-1]).hexdigest()
            if actual != file.sha256:
                rejection = {"stage": "validation", "code": "digest_mismatch", "message": "the digest differs"}
                found = {"file": file.path, "expected": file.sha256, "actual": actual, "hint": "publish again"}
                known.update(stage="rejected", rejection={**rejection, **found})
                return
        if known["commit"] == "manual":
            known["stage"] = "candidate"
            self.lists.setdefault("candidates", []).append({"publication": publication, "model": known["model"]})
            return
        self._commit(publication, {})

    def _commit(self, publication: str, decision: Json) -> Json:
        declared = self._declared[publication]
        files = tuple(
            ManifestFile(path=file.path, size=file.size, sha256=file.sha256, format="unknown", role=file.role)
            for file in declared.files
        )
        text = manifest_bytes(Manifest(model=declared.model, files=files, facts=declared.facts))
        version = next((one for one in self.versions if one["id"] == manifest_id(text)), None)
        if version is None:
            version = {
                "id": manifest_id(text),
                "number": len(self.versions) + 1,
                "model": declared.model,
                "branch": decision.get("branch", declared.branch),
                "tags": {**declared.tags, **decision.get("tags", {})},
                "publication": publication,
                "manifest": json.loads(text),
                "files": [file.model_dump(mode="json") for file in files],
                "text": text,
            }
            self.versions.append(version)
        summary = {name: version[name] for name in ("id", "number", "branch")}
        self._publication(publication).update(stage="committed", version=summary)
        return {"model": declared.model, **summary}

    # -- versions

    def _version(self, ref: str) -> Json:
        wanted = parse_reference(ref)
        for version in reversed(self.versions):
            if version["model"] == wanted.model and (
                (wanted.kind == "number" and version["number"] == int(wanted.value))
                or (wanted.kind == "digest" and version["id"].startswith(wanted.value))
                or (wanted.kind == "name" and version["branch"] == wanted.value)
            ):
                return version
        raise NotFound("reference_not_found", f"{ref} names no version", actual=wanted.value, hint="muniment models ls")

    def _downloads(self, version: Json) -> list[Json]:
        files = []
        for file in version["files"]:
            newest = len(self.objects[f"/{file['sha256']}"])
            url = f"{self.store_url}/{file['sha256']}?version=v{newest}&signature={len(self.requests)}"
            files.append({**file, "url": url})
        return files


def problem(error: MunimentError) -> httpx2.Response:
    """An error as the services answer it: an RFC 9457 problem."""
    fields: Json = {"type": "about:blank", "title": error.code, "status": error.http_status, **error.facts()}
    fields["detail"] = fields.pop("message")
    return httpx2.Response(
        error.http_status,
        content=json.dumps({**fields, "request_id": "r-1"}).encode(),
        headers={"content-type": "application/problem+json"},
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def _handler_for(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            url = f"http://{self.headers['host']}{self.path}"
            request = httpx2.Request(self.command, url, headers=dict(self.headers), content=body)
            try:
                answer = registry.handle(request)
            except Hangup:
                self.close_connection = True
                return
            content = answer.read()
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "content-length" not in answer.headers and answer.status_code != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection |= len(content) < int(answer.headers.get("content-length", 0))

        def log_message(self, *_: Any) -> None:
            """Nothing: tests read what they need."""

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    return Handler
