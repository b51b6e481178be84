"""Fetching an evidence pack: the file is there once it is whole, and not before."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from muniment.contracts.errors import Rejected, Transient
from muniment.sdk import AsyncClient, Client

PACK = bytes(range(256)) * 20_000


class Answers(BaseHTTPRequestHandler):
    """A pack in chunks for the model digits; one that is cut off for `cut`; a refusal for any other."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        (model,) = parse_qs(asked.query)["model"]
        if (asked.path, model) not in {("/api/v1/audit/evidence", "digits"), ("/api/v1/audit/evidence", "cut")}:
            problem = json.dumps({"code": "evidence_empty", "title": "none", "status": 422}).encode()
            self.send_response(422)
            self.send_header("content-type", "application/problem+json")
            self.send_header("content-length", str(len(problem)))
            self.end_headers()
            self.wfile.write(problem)
            return
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for start in range(0, len(PACK), 100_000):
            chunk = PACK[start : start + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if model == "cut":
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_pack_is_written(url: str, tmp_path: Path) -> None:
    with Client(url, "token") as client:
        made = client.audit_export("digits", tmp_path / "p.tar", since="2026-01-01T00:00:00Z")
    assert made == {"file": str(tmp_path / "p.tar"), "size": len(PACK)}
    assert (tmp_path / "p.tar").read_bytes() == PACK


def test_from_asyncio_too(url: str, tmp_path: Path) -> None:
    async def fetch() -> None:
        async with AsyncClient(url, "token") as client:
            await client.audit_export("digits", tmp_path / "p.tar")

    asyncio.run(fetch())
    assert (tmp_path / "p.tar").read_bytes() == PACK


def test_what_is_cut_off_or_refused_leaves_no_file(url: str, tmp_path: Path) -> None:
    (tmp_path / "p.tar").write_bytes(b"an earlier one")
    with Client(url, "token") as client:
        with pytest.raises(Transient):
            client.audit_export("cut", tmp_path / "p.tar")
        with pytest.raises(Rejected) as caught:
            client.audit_export("nobody", tmp_path / "p.tar")
    assert caught.value.code == "evidence_empty"
    assert not (tmp_path / "p.tar.part").exists()
    assert (tmp_path / "p.tar").read_bytes() == b"an earlier one"
