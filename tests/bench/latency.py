"""From `training-completed` to `version-available`: a 1 MiB artifact already uploaded, 5 publications a second.

`event_to_available_ms` is from before the producer's send to the record in the hands of a consumer. `stage_..._ms` are
the steps between a flow's arrivals on the topics; `inside_..._ms` what the services' own histograms say of a mean one.
"""

from __future__ import annotations

import asyncio
import os
import time

from aiokafka import AIOKafkaProducer

from muniment.contracts import topics

from .report import Report
from .stack import Stack, running
from .trainers import Run, Watcher, land, producer, send, watcher

SIZE = 2**20
STEPS = (topics.TRAINING_COMPLETED, topics.MODEL_TRAINED, topics.MODEL_VALIDATED, topics.VERSION_AVAILABLE)


async def measure(report: Report, *, count: int = 500, per_second: float = 5.0) -> None:
    """Publish `count` runs on a steady beat, on a stack of its own."""
    async with running() as stack:
        await measure_on(stack, report, count=count, per_second=per_second)


async def measure_on(stack: Stack, report: Report, *, count: int, per_second: float, models: int = 20) -> None:
    """The same on a running stack; of one model, that is the one which `seed` fills."""
    report.say(f"latency: uploading {count + 10} artifacts of 1 MiB")
    names = ("model" if models == 1 else f"model-{number % models}" for number in range(count + 10))
    runs = await land(stack, names, SIZE, stem="latency")
    # The kernel writes the uploads to disk half a minute later, all at once, and commits wait for it: that is no part of
    # what is measured, so it happens now.
    await asyncio.to_thread(os.sync)
    async with producer(stack) as made, watcher(stack, STEPS) as watching:
        await asyncio.gather(*[_publish(made, watching, run) for run in runs[:10]])
        before = await stack.metrics()
        report.say(f"latency: {count} publications at {per_second:g}/s")
        sent: dict[str, float] = {}
        tasks = []
        begin = time.perf_counter()
        for number, run in enumerate(runs[10:]):
            await asyncio.sleep(max(0.0, begin + number / per_second - time.perf_counter()))
            sent[run.publication_id] = time.perf_counter()
            tasks.append(asyncio.create_task(_publish(made, watching, run)))
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)
        after = await stack.metrics()
    done = watching.seen(topics.VERSION_AVAILABLE)
    report.quantiles(
        "event_to_available", [done[flow] - sent[flow] for flow in sent], size_mib=1, per_second=per_second
    )
    previous = sent
    for topic in STEPS:
        arrived = watching.seen(topic)
        report.quantiles(f"stage_{topic.name.replace('-', '_')}", [arrived[flow] - previous[flow] for flow in sent])
        previous = arrived
    _inside(report, before, after)


async def _publish(made: AIOKafkaProducer, watching: Watcher, run: Run) -> None:
    available = watching.expect(topics.VERSION_AVAILABLE, run.publication_id)
    await send(made, run)
    await available


def _inside(report: Report, before: dict[str, float], after: dict[str, float]) -> None:
    """Means of what the services timed themselves."""
    for name in sorted(after):
        if not name.startswith("muniment_step_seconds_count{"):
            continue
        labels = name.split("{", 1)[1]
        count = after[name] - before.get(name, 0.0)
        total_name = f"muniment_step_seconds_sum{{{labels}"
        total = after[total_name] - before.get(total_name, 0.0)
        if count:
            fields = dict(part.split("=") for part in labels.rstrip("}").split(","))
            report.add("inside_ms_mean", total / count * 1000, "ms", n=int(count), **fields)
