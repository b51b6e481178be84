"""Fetch sessions (KIP-227) for aiokafka's consumer: a request names only the partitions of which something changed.

aiokafka 0.14 names every assigned partition in each fetch, and the broker answers for every one. A service reads some
sixty, and nearly all fetches bring records of one or two: encoding and decoding the rest in pure Python took a sixth of
a busy process. With a session the broker remembers what was asked last and answers only where there is something to
say.

Kafka's rules (KIP-227, "FetchRequest Metadata meaning"): session 0, epoch 0 asks for everything and for a session; its
own id with epochs 1, 2, ... says what changed and what is forgotten; its own id with epoch 0 gives it up for a new one.
A broker that has no place for a session answers with session 0. Whatever goes wrong, and whenever it is not known
whether the broker has taken a request, the next one asks for everything again: the session is only a shorter way to
say the same, so nothing can be lost by it.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

Partition: TypeAlias = tuple[str, int]
Wanted: TypeAlias = dict[Partition, tuple[int, int]]
"""The offset from which, and how many bytes at most, each partition is wanted."""

_SESSIONS_SINCE: Final = 7
"""The version of fetch requests that has sessions."""
_LAST_EPOCH: Final = 2**31 - 1


class Session:
    """What one broker remembers of one consumer. One request is under way at a time."""

    def __init__(self) -> None:
        self.id = 0
        self.epoch = 0
        self._remembered: Wanted = {}

    def next(self, whole: FetchRequest) -> SessionRequest:
        """The request to send for one that names everything."""
        wanted: Wanted = {
            (topic, partition): (offset, most)
            for topic, partitions in whole.topics
            for partition, offset, most in partitions
        }
        before = self._remembered if self.epoch else {}
        changed = {place: what for place, what in wanted.items() if before.get(place) != what}
        self._remembered = wanted
        return SessionRequest(whole, self.id, self.epoch, changed, before.keys() - wanted.keys())

    def answered(self, response: Any) -> None:
        """Take note of the answer. What it says of partitions that were not asked for is taken out of it."""
        if response.API_VERSION < _SESSIONS_SINCE:
            return
        if response.error_code or response.session_id == 0:
            # It knows no such session or another epoch of it, has closed it, or has no place for one.
            self.id = self.epoch = 0
        else:
            self.id = response.session_id
            self.epoch = 1 if self.epoch == _LAST_EPOCH else self.epoch + 1
        response.topics = [
            (topic, [one for one in partitions if (topic, one[0]) in self._remembered])
            for topic, partitions in response.topics or ()
        ]

    def lost(self) -> None:
        """It is not known whether the last request was taken: the next one names everything, for a new session."""
        self.epoch = 0


class SessionRequest:
    """A fetch request that says what has changed since the last one of its session. Sent as aiokafka sends its own."""

    def __init__(
        self, whole: FetchRequest, session_id: int, epoch: int, changed: Wanted, forgotten: Iterable[Partition]
    ) -> None:
        self._whole = whole
        self._session = session_id, epoch
        self._changes = copy.copy(whole)
        self._changes._topics = [  # noqa: SLF001  # reason: the one field in which the two differ
            (topic, [(partition, *changed[topic, partition]) for partition in partitions])
            for topic, partitions in _by_topic(changed)
        ]
        self._forgotten = list(_by_topic(forgotten))

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """The request in the newest version that the broker takes; one from before sessions names everything."""
        struct = self._changes.prepare(versions)
        if struct.API_VERSION < _SESSIONS_SINCE:
            return self._whole.prepare(versions)
        struct.session_id, struct.session_epoch = self._session
        struct.forgotten_topics_data = self._forgotten
        return struct


def _by_topic(places: Iterable[Partition]) -> Iterable[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for topic, partition in places:
        found.setdefault(topic, []).append(partition)
    return found.items()


def fetch_in_sessions(consumer: AIOKafkaConsumer) -> Mapping[int, Session]:
    """Let this consumer fetch in sessions, one with each broker. Call it once, before or after it has started.

    Returns its sessions by the broker's id, as they come.
    """
    client = consumer._client  # noqa: SLF001  # reason: no setting of the client leads there
    send: Callable[..., Awaitable[Any]] = client.send
    sessions: dict[int, Session] = {}

    async def send_in_session(node_id: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await send(node_id, request, **options)
        if (session := sessions.get(node_id)) is None:
            session = sessions[node_id] = Session()
        try:
            response = await send(node_id, session.next(request), **options)
        except BaseException:  # cancelled, too: by a new assignment
            session.lost()
            raise
        session.answered(response)
        return response

    client.send = send_in_session
    return sessions
