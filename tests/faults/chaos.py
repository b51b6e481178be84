"""Faults mixed at random over two replicas of each service, under load: `make chaos SEED=1 MINUTES=5`.

One line for each fault while it runs, and at the end the checker's findings and a table, or JSON with `--json`. The
same seed makes the same plan, the same load and the same trouble at the webhook sink.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from muniment.server.parts import Parts, PartsSettings, start_parts
from muniment.testing.tcp_proxy import Fault as Trouble
from muniment.testing.tcp_proxy import TcpProxy

from .chaos_plan import REPLICAS, Fault, plan
from .fleet import Fleet, fleet
from .invariants import Finding, Violation, told
from .replicas import Replica, Usage

STEP_WITHIN_S = 15.0
SETTLES_WITHIN_S = 90.0
MORE_MIB, MORE_HANDLES = 100.0, 64
"""What a process that lived through the run may hold more at its end than when it became ready."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a fault. `fired`: how often it was seen to happen; 0 has tested nothing."""

    fault: Fault
    at_s: float
    fired: int
    said: str = ""


@dataclass
class Result:
    """A run. `lived`: what each replica that was never restarted held at the beginning and at the end."""

    seed: int
    outcomes: list[Outcome]
    findings: list[Finding]
    settled_s: float
    lived: dict[str, tuple[Usage, Usage]]
    story: str

    @property
    def violations(self) -> int:
        """All together."""
        return sum(len(finding.violations) for finding in self.findings)

    @property
    def fired(self) -> Counter[str]:
        """Faults that were seen to happen, by kind and target (services without the replica's number)."""
        return Counter(named(one.fault) for one in self.outcomes if one.fired)


def named(fault: Fault) -> str:
    """The kind and what it befalls, without a replica's number."""
    return f"{fault.kind} {fault.target.rsplit('-', 1)[0] if fault.kind != 'kill at' else 'a step'}"


@dataclass
class Chaos:
    """A run under way."""

    fleet: Fleet
    say: Say
    began: float = field(default_factory=time.monotonic)
    outcomes: list[Outcome] = field(default_factory=list)
    deaths: list[Violation] = field(default_factory=list)
    """Of processes that nobody killed."""
    fresh: dict[str, tuple[int, Usage]] = field(default_factory=dict)
    """The process of each replica and what it held, before the first fault."""

    async def run(self, faults: tuple[Fault, ...]) -> None:
        """Both lanes side by side, to their ends."""
        self.fresh = {one.name: (one.pid, one.usage()) for one in self.fleet.cluster.everything}
        async with asyncio.TaskGroup() as group:
            for lane in ("processes", "parts"):
                group.create_task(self._lane([fault for fault in faults if fault.lane == lane]))
        for replica in self.fleet.cluster.everything:
            await self._alive(replica)

    async def _lane(self, faults: list[Fault]) -> None:
        for fault in faults:
            await asyncio.sleep(fault.gap_s)
            at = time.monotonic() - self.began
            if fault.lane == "parts":
                outcome = Outcome(fault, at, await self._part(fault))
            else:
                outcome = Outcome(fault, at, *await self._process(fault))
            self.outcomes.append(outcome)
            seen = f"seen {outcome.fired} x" if outcome.fired else "DID NOT FIRE"
            self.say(f"{at:6.1f} s  {fault}: {seen}{', ' * bool(outcome.said)}{outcome.said}")

    async def _process(self, fault: Fault) -> tuple[int, str]:
        service, _, number = fault.target.rpartition("-")
        if fault.kind == "kill at":
            return await self._killed_at(fault.target)
        replica = self.fleet.cluster.replicas[service][int(number)]
        await self._alive(replica)
        if fault.kind == "pause":
            replica.signal(signal.SIGSTOP)
            await asyncio.sleep(fault.hold_s)
            fired = int(replica.paused)
            replica.signal(signal.SIGCONT)
            return fired, ""
        if fault.kind == "kill":
            replica.signal(signal.SIGKILL)
            code = await replica.ended()
            return int(code == -signal.SIGKILL), await self._up(replica)
        replica.signal(signal.SIGTERM)
        code = await replica.ended(60)
        if code != 0:
            self.deaths.append(Violation(replica.name, f"ended with {code} when asked to stop\n{replica.log}"))
        return 1, await self._up(replica)

    async def _killed_at(self, step: str) -> tuple[int, str]:
        """Both replicas get the step, since either may be given the work; the first one to die ends it."""
        pair = self.fleet.cluster.replicas[step.partition(".")[0]]
        for replica in pair:
            await self._alive(replica)
        await asyncio.gather(*(replica.stop() for replica in pair))
        said = await asyncio.gather(*(self._up(replica, MUNIMENT_STOP_AT=step) for replica in pair))
        ends = [asyncio.ensure_future(replica.ended(STEP_WITHIN_S)) for replica in pair]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        fired = sum(replica.process is not None and replica.process.returncode == -signal.SIGKILL for replica in pair)
        await asyncio.gather(*(replica.stop() for replica in pair))  # the other one, which must not die later
        said += await asyncio.gather(*(self._up(replica) for replica in pair))
        return fired, ", ".join(filter(None, said))

    async def _part(self, fault: Fault) -> int:
        cluster = self.fleet.cluster
        if fault.target == "broker":
            cluster.freeze("kafka")
            try:
                await asyncio.sleep(fault.hold_s)
                return int(cluster.frozen("kafka"))
            finally:
                cluster.thaw("kafka")
        return await _troubled({"database": cluster.database, "store": cluster.store}[fault.target], fault)

    async def _up(self, replica: Replica, **more: str) -> str:
        """Start it as a supervisor does: again when it ends at once, as while the database is away."""
        tries = 0
        while True:
            tries += 1
            try:
                await replica.start(**more)
            except AssertionError:
                assert replica.process is not None
                if more and replica.process.returncode == -signal.SIGKILL:
                    return ""  # it came by its step before it was ready
                if tries == 20:
                    raise
                await asyncio.sleep(0.5)
            else:
                return "" if tries == 1 else f"{replica.name} took {tries} starts"

    async def _alive(self, replica: Replica) -> None:
        """Whoever has ended by itself is told, and started again."""
        if replica.process is not None and replica.process.returncode is not None:
            code = replica.process.returncode
            self.deaths.append(Violation(replica.name, f"ended by itself with {code}\n{replica.log}"))
            self.say(f"{time.monotonic() - self.began:6.1f} s  {replica.name} ENDED BY ITSELF with {code}")
            await self._up(replica)

    def lived(self) -> dict[str, tuple[Usage, Usage]]:
        """At the beginning and now, of those that run since then."""
        return {
            replica.name: (usage, replica.usage())
            for replica in self.fleet.cluster.everything
            for pid, usage in [self.fresh[replica.name]]
            if pid == replica.pid
        }


async def _troubled(proxy: TcpProxy, fault: Fault) -> int:
    """Trouble on the way to a part for a while; how often it was seen."""
    before = proxy.fired.copy()
    if fault.kind == "cut":
        proxy.requests = Trouble(reset_after=1)
    elif fault.kind == "reset":
        proxy.answers = Trouble(reset_after=200)
    elif fault.kind == "slow":
        proxy.answers = Trouble(latency=0.3)
    elif fault.kind == "black-hole":
        proxy.requests = Trouble(hold_after=0)
    else:
        await proxy.down()
    await asyncio.sleep(fault.hold_s)
    proxy.heal()
    if fault.kind == "black-hole":  # what was swallowed stays lost, as with a gateway that comes back without its table
        await proxy.down()
    await proxy.up()
    seen = {"cut": "reset", "reset": "reset", "slow": "latency", "black-hole": "hold", "refuse": "broken"}[fault.kind]
    return proxy.fired[seen] - before[seen]


async def chaos(parts: Parts, folder: Path, seed: int, seconds: float, say: Say) -> Result:
    """Carry out the plan of a seed, wait for quiet, and let the checker judge."""
    async with fleet(parts, folder, f"c{seed}-{os.getpid()}", seed, replicas=REPLICAS) as running:
        run = Chaos(running, say)
        async with running.loading(per_second=4):
            await run.run(plan(seed, seconds))
        last = time.monotonic()
        say(f"{last - run.began:6.1f} s  the last fault is over; waiting until all is done")
        findings, facts = await running.judged(SETTLES_WITHIN_S)
        settled = time.monotonic() - last
        lived = run.lived()
        findings += [_memory(lived), Finding("alive", f"replicas {len(running.cluster.everything)}", run.deaths)]
        return Result(seed, run.outcomes, findings, settled, lived, told(findings, facts, seed))


def _memory(lived: dict[str, tuple[Usage, Usage]]) -> Finding:
    """I9: those that lived through the run hold about what they held."""
    grown = {
        name: (after.rss_mib - before.rss_mib, after.handles - before.handles)
        for name, (before, after) in lived.items()
    }
    bad = [
        Violation(name, f"{mib:+.0f} MiB, {handles:+d} handles")
        for name, (mib, handles) in grown.items()
        if mib > MORE_MIB or handles > MORE_HANDLES
    ]
    most = [max((values[which] for values in grown.values()), default=0) for which in (0, 1)]
    return Finding("I9", f"lived through {len(lived)}: at most {most[0]:+.0f} MiB and {most[1]:+.0f} handles", bad)


def table(result: Result) -> str:
    """By kind: planned, seen, and what did not fire."""
    planned = Counter(named(one.fault) for one in result.outcomes)
    lines = [f"{'fault':<28} {'begun':>6} {'seen':>6}"]
    lines += [f"{name:<28} {count:>6} {result.fired[name]:>6}" for name, count in sorted(planned.items())]
    return "\n".join(lines)


def as_json(result: Result) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "seed": result.seed,
        "faults": [asdict(one) for one in result.outcomes],
        "settled_s": round(result.settled_s, 2),
        "findings": [asdict(one) for one in result.findings],
        "lived": {name: [asdict(usage) for usage in pair] for name, pair in result.lived.items()},
    }


async def _alone(seed: int, seconds: float, say: Say) -> Result:
    with tempfile.TemporaryDirectory(prefix="muniment-chaos-") as name:
        async with start_parts(PartsSettings(data_dir=Path(name) / "parts"), on_progress=None) as parts:
            return await chaos(parts, Path(name), seed, seconds, say)


def main() -> int:
    """Run one; 1 if anything does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", action="store_true", help="JSON on stdout; progress goes to stderr")
    asked = parser.parse_args()
    out = sys.stderr if asked.json else sys.stdout
    result = asyncio.run(_alone(asked.seed, asked.minutes * 60, lambda text: print(text, file=out, flush=True)))
    if asked.json:
        print(json.dumps(as_json(result)))
    else:
        print(f"{result.story}\n\n{table(result)}\nsettled in {result.settled_s:.1f} s")
    return int(bool(result.violations))


if __name__ == "__main__":
    raise SystemExit(main())
