"""The client library's wait for records that it holds, which is set from outside: it must still be what is looked at."""

from __future__ import annotations

import inspect

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult


def test_what_the_client_holds_keeps_its_request_back_for_as_long_as_was_set() -> None:
    held = FetchResult(TopicPartition("topic", 0), assignment=None, partition_records=None, backoff=1.0)
    assert 0.1 < held.calculate_backoff() <= 1.0
    assert "backoff=self._prefetch_backoff" in inspect.getsource(Fetcher._proc_fetch_request)
