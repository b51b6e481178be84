"""Cosignatures of witnesses for a checkpoint (C2SP tlog-witness, client side). A witness that fails costs its time-out.

`cosign` is the one call: it asks all witnesses at once and returns the lines of those that have cosigned in time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx2
import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from muniment.contracts.errors import Misconfigured
from muniment.runtime.settings import WitnessingSettings, WitnessSettings

log = structlog.get_logger(__name__)

ProofOf = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""The consistency proof from one size to another, both at most the checkpoint's (RFC 6962 section 2.1.2)."""
_COSIGNATURE: Final = 0x04
_SIZE_TYPE: Final = "text/x.tlog.size"
_MAX_ANSWER: Final = 64 * 1024
_MAX_SIZE: Final = 2**63 - 1


@dataclass(slots=True)
class Witness:
    """A witness as the log knows it. `size`: of the checkpoint that it cosigned last, as far as is known here."""

    name: str
    key_id: bytes
    public: Ed25519PublicKey
    url: str
    size: int = 0
    cosigned: int = field(default=0)
    failed: int = field(default=0)
    failing: bool = field(default=False)


class Witnesses:
    """The witnesses of one log; made once, closed with the service. One checkpoint at a time."""

    def __init__(self, settings: WitnessingSettings, client: httpx2.AsyncClient | None = None) -> None:
        """Raises `Misconfigured` (`witness_key_invalid`)."""
        self.known = [_witness(one) for one in settings.witnesses]
        self._timeout_s = settings.timeout_s
        self._client = client or httpx2.AsyncClient(follow_redirects=False, timeout=settings.timeout_s)

    async def cosign(self, note: str, size: int, proof_of: ProofOf) -> list[str]:
        """The cosignature lines (each ends in a line feed) for a checkpoint's signed note of `size` entries.

        Never raises for what a witness does, and returns within `timeout_s`: lines that are not there in time are
        asked for with the next checkpoint.
        """
        text = note[: note.rindex("\n\n") + 1]
        answers = await asyncio.gather(*(self._ask(one, note, text, size, proof_of) for one in self.known))
        return [line for line in answers if line is not None]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, witness: Witness, note: str, text: str, size: int, proof_of: ProofOf) -> str | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                line = await self._submit(witness, note, text, size, proof_of)
        except Exception as error:  # noqa: BLE001  # reason: a witness, whatever it does, must not stop the log
            witness.failed += 1
            if not witness.failing:  # once: the metric tells how often
                log.warning("witness failed", witness=witness.name, error=repr(error)[:200])
            witness.failing = True
            return None
        if witness.failing:
            log.info("witness cosigns again", witness=witness.name)
        witness.failing, witness.size, witness.cosigned = False, size, witness.cosigned + 1
        return line

    async def _submit(self, witness: Witness, note: str, text: str, size: int, proof_of: ProofOf) -> str:
        for _ in range(2):  # once more when the witness says which size it holds
            proof = await proof_of(witness.size, size) if 0 < witness.size < size else []
            lines = [f"old {witness.size}", *(base64.b64encode(one).decode() for one in proof), "", note]
            status, kind, body = await self._post(f"{witness.url}/add-checkpoint", "\n".join(lines).encode())
            held = _size(body) if status == 409 and kind == _SIZE_TYPE else None
            if held is None:
                break
            if held > size:
                raise ValueError(
                    f"holds {held} entries, this checkpoint has {size}: was the log restored from a backup?"
                )
            witness.size = held
        if status != 200:
            raise ValueError(f"HTTP {status}: {body[:200]!r}")
        line = next((one for one in body.decode().splitlines() if _is_by(witness, one, text)), None)
        if line is None:
            raise ValueError("the answer holds no cosignature of its key for this checkpoint")
        return f"{line}\n"

    async def _post(self, url: str, body: bytes) -> tuple[int, str, bytes]:
        async with self._client.stream("POST", url, content=body) as answer:
            data = b""
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > _MAX_ANSWER:
                    raise ValueError(f"answers with more than {_MAX_ANSWER} bytes")
            return answer.status_code, answer.headers.get("content-type", "").partition(";")[0].strip(), data


def _is_by(witness: Witness, line: str, text: str) -> bool:
    """Whether a line is the witness's valid cosignature/v1 of the checkpoint's text (C2SP tlog-cosignature)."""
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    try:
        data = base64.b64decode(encoded, validate=True)
        if dash != "\u2014" or name != witness.name or data[:4] != witness.key_id or len(data) != 76:
            return False
        (time,) = struct.unpack(">Q", data[4:12])
        witness.public.verify(data[12:], f"cosignature/v1\ntime {time}\n{text}".encode())
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def _size(body: bytes) -> int | None:
    digits = body.removesuffix(b"\n")
    if not digits.isdigit() or len(digits) > 19 or (digits[:1] == b"0" and digits != b"0"):
        return None
    return size if (size := int(digits)) <= _MAX_SIZE else None


def _witness(settings: WitnessSettings) -> Witness:
    name, _, rest = settings.vkey.partition("+")
    identity, _, encoded = rest.partition("+")
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        data = b""
    expected = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    valid = name and len(data) == 33 and data[0] == _COSIGNATURE and identity == expected.hex()
    if not valid or not settings.url.startswith(("http://", "https://")):
        raise Misconfigured(
            "witness_key_invalid",
            "a witness's key or URL is none",
            expected="an http(s) URL, and a key (NAME+ID+BASE64, type 4) as `muniment-witness init` prints it",
            actual=f"{settings.url} {settings.vkey}"[:200],
        )
    return Witness(name, expected, Ed25519PublicKey.from_public_bytes(data[1:]), settings.url.rstrip("/"))
