"""What the audit log costs the pipeline: throughput with the audit service and without it, in turn.

Without it the other services still say what they did (their audit requests go to the topic); nobody writes the log: no
entries, no tree, no tiles, no checkpoints. Each turn has a stack of its own, and each way as many turns as the other.
"""

from __future__ import annotations

from muniment.server.wiring import NAMES

from .report import Report
from .stack import running_services
from .throughput import measure_on

WAYS = (True, False, False, True)
"""With the log or without it: in an order in which a machine that becomes slower favours neither."""


async def measure(report: Report, *, seconds: float = 30.0) -> None:
    """Both ways in turn, and what part of the rate the log takes."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    for logged in WAYS:
        services = [name for name in NAMES if logged or name != "audit"]
        report.say(f"audit_cost: {'with' if logged else 'without'} the audit service")
        turn = Report(began=report.began)  # its lines are on stdout, and are not kept as the throughput's figures
        async with running_services(services) as stack:
            await measure_on(stack, turn, "many models", seconds=seconds)
        rates[logged].append(turn.figures["verified_versions_per_s"])
        report.add("audit_cost_versions_per_s", rates[logged][-1], "1/s", logged=logged, seconds=seconds)
    with_log, without = (sum(rates[way]) / len(rates[way]) for way in (True, False))
    report.add("audit_cost_percent", (1 - with_log / without) * 100, "%", with_log=with_log, without=without)
