"""Every fault of a process, one at a time, and a short chaos: JSON lines, and the measured tables of a page.

`make reliability REPEAT=3` runs them; `--only PATTERN` those whose name it is found in; `--write PAGE` writes the tables
of all runs that the file of JSON lines holds, and runs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from muniment.server.parts import Parts, PartsSettings, start_parts
from tests.bench.report import Report, quantile
from tests.bench.tables import NOTHING, Line, machines, markdown, read, rewrite

from .chaos import chaos
from .fleet import Fleet, fleet
from .single import SERVICES, STEPS, CaughtUp, killed, paused, stopped

CHAOS = "chaos"
Single = tuple[Callable[[Fleet, str], Awaitable[CaughtUp]], str]
SINGLES: dict[str, Single] = {
    **{f"kill at {step.partition('#')[0]}": (killed, step) for step in STEPS},
    **{f"pause {service}": (paused, service) for service in SERVICES},
    **{f"stop {service}": (stopped, service) for service in SERVICES},
}


async def measure(parts: Parts, folder: Path, seed: int, names: Sequence[str], report: Report) -> int:
    """Run the named faults in one fleet, with the checker after each; how often something did not hold."""
    bad = 0
    # A receiver's refusals would be waited for, too (5 s and more), and are not the fault's.
    async with fleet(parts, folder, f"r{os.getpid()}-{seed}", seed, trouble=0) as running:
        known = 0
        for name in names:
            befall, target = SINGLES[name]
            try:
                seen = await befall(running, target)
            except (AssertionError, TimeoutError) as error:
                report.say(f"{name}: {error}")
                report.add("fault_failed", 1, "faults", fault=name, seed=seed, why=str(error).partition("\n")[0])
                bad += 1
                await _mended(running)
                continue
            findings, _ = await running.judged()
            now = sum(len(finding.violations) for finding in findings)
            report.add(
                *("fault_caught_up_s", seen.done_s, "s"),
                fault=name,
                ready_s=round(seen.ready_s, 2),
                violations=now - known,
                seed=seed,
            )
            bad, known = bad + (now > known), now
    return bad


async def _mended(running: Fleet) -> None:
    """After a fault that failed: every process anew, so that the next one begins with a sound fleet."""
    for replica in running.cluster.everything:
        await replica.stop()
        await replica.start()


async def _chaos(parts: Parts, folder: Path, seed: int, seconds: float, report: Report) -> int:
    result = await chaos(parts, folder, seed, seconds, report.say)
    report.say(result.story)
    report.add(
        *("chaos_settled_s", result.settled_s, "s"),
        seed=seed,
        seconds=seconds,
        begun=len(result.outcomes),
        seen=dict(result.fired),
        violations=result.violations,
    )
    return int(bool(result.violations))


async def run(asked: argparse.Namespace, report: Report) -> int:
    """Everything that was asked for, on parts of its own; how often something did not hold."""
    names = [name for name in SINGLES if re.search(asked.only, name)]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="muniment-reliability-") as name:
        folder = Path(name)
        async with start_parts(PartsSettings(data_dir=folder / "parts"), on_progress=None) as parts:
            for seed in range(asked.seed, asked.seed + asked.repeat):
                if names:
                    bad += await measure(parts, folder / f"{seed}", seed, names, report)
                if re.search(asked.only, CHAOS):
                    bad += await _chaos(parts, folder / f"chaos-{seed}", seed, asked.chaos_seconds, report)
    return bad


def singles_table(lines: Sequence[Line]) -> str:
    """One row for each fault of one process."""
    done = [line for line in lines if line.fields["metric"] == "fault_caught_up_s"]
    failed = Counter(line.fields["fault"] for line in lines if line.fields["metric"] == "fault_failed")
    rows = [("fault", "tried", "seen and caught up", "p50 s", "max s", "violations")]
    for name in SINGLES:
        mine = [line for line in done if line.fields["fault"] == name]
        if not mine and not failed[name]:
            continue
        took = [line.value for line in mine]
        times = [f"{quantile(took, 50):.1f}", f"{max(took):.1f}"] if took else [NOTHING, NOTHING]
        broken = sum(line.fields["violations"] for line in mine)
        rows.append((name, str(len(mine) + failed[name]), str(len(mine)), *times, str(broken)))
    return markdown(rows)


def chaos_table(lines: Sequence[Line]) -> str:
    """One row for each run."""
    rows = [("seed", "seconds", "faults begun", "seen", "settled after s", "violations", "at")]
    for line in lines:
        if line.fields["metric"] == "chaos_settled_s":
            one = line.fields
            seen = sum(one["seen"].values())
            cells = (one["seed"], f"{one['seconds']:.0f}", one["begun"], seen, f"{line.value:.1f}", one["violations"])
            rows.append((*map(str, cells), f"{str(line.run['at'])[:10]}, {line.run['commit']}"))
    return markdown(rows)


def write(page: Path, kept: Path) -> None:
    """Rewrite the tables of the page from the lines that were kept."""
    lines = read([kept.read_text()])
    tables = {"machine": machines(lines), "singles": singles_table(lines), "chaos": chaos_table(lines)}
    page.write_text(rewrite(page.read_text(), tables, by="make reliability"))


def main() -> int:
    """Run or write; 1 if anything did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="so many seeds, from --seed on")
    parser.add_argument("--only", default="", metavar="PATTERN")
    parser.add_argument("--chaos-seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, required=True, help="append the JSON lines to this file")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    asked = parser.parse_args()
    if asked.write is not None:
        write(asked.write, asked.out)
        return 0
    with asked.out.open("a") as kept:
        report = Report(kept)
        report.machine()
        return int(bool(asyncio.run(run(asked, report))))


if __name__ == "__main__":
    raise SystemExit(main())
