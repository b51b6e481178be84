"""MLflow's figures, under Muniment's names with the prefix `mlflow_`.

What it does in the measured time is less: it stores a row that points at bytes. It does not read the bytes again, has no
digest of them, locks nothing, writes no audit entry and sends no event. Each figure carries `does`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..report import Report
from ..usage import cpu_seconds, memory_mib
from .client_call import ask
from .search import measure_peer
from .server import BUCKET, PYTHON, Parts, Server, parts, serving

ROW = "a row that points at bytes; not read again, no digest, no lock, no audit, no event"
DIRECT = f"s3://{BUCKET}/direct"
ROUTES = {"proxy": None, "direct": DIRECT}
"""Artifacts through the server (its default), or from the client straight to S3."""
WARM_UP_S = 3.0


@dataclass(frozen=True)
class Plan:
    """How long and how much. `whole`: start, idle and command line, too."""

    latency_count: int
    seconds: float
    big_gib: tuple[float, ...]
    whole: bool
    command_runs: int = 7
    idle_s: float = 30.0


async def measure(report: Report, plan: Plan) -> None:
    """Everything, on one server; with `whole` it is started again after the start that makes its tables."""
    with tempfile.TemporaryDirectory(prefix="mlflow-bench-") as own:
        folder = Path(own)
        async with parts(folder) as on:
            report.say("mlflow: first start")
            async with serving(on) as server:
                report.add("mlflow_start_cold_s", server.start_s, "s", does="tables made", parts="running")
                if not plan.whole:
                    await _main_job(report, server, plan)
            if plan.whole:
                report.say("mlflow: second start")
                async with serving(on) as server:
                    what = "the server alone, its parts run"
                    report.add("mlflow_stack_start_warm_s", server.start_s, "s", n=1, does=what)
                    await _main_job(report, server, plan)


async def _main_job(report: Report, server: Server, plan: Plan) -> None:
    what = "its job runners come up after /health says OK"
    report.add("mlflow_settled_after_healthy_s", await _settled(server), "s", does=what)
    if plan.whole:
        await _idle(report, server, plan)
        await _command_line(report, server, plan)
    await _latency(report, server, plan)
    await _throughput(report, server, plan)
    await _big_files(report, server, plan)
    await measure_peer(report, server)


async def _idle(report: Report, server: Server, plan: Plan) -> None:
    report.say(f"mlflow: idle for {plan.idle_s:g} s")
    before = cpu_seconds(server.processes)
    await asyncio.sleep(plan.idle_s)
    of = server.processes
    conditions: dict[str, Any] = {"processes": len(of), "workers": "default (4)"}
    report.add("mlflow_services_idle_rss_mib", memory_mib(of), "MiB", **conditions)
    report.add("mlflow_services_idle_pss_mib", memory_mib(of, shared_once=True), "MiB", **conditions)
    report.add("mlflow_services_idle_cpu_percent", (cpu_seconds(of) - before) / plan.idle_s * 100, "%", **conditions)


async def _settled(server: Server) -> float:
    """Wait until its processes use less than a fifth of a core for 3 s; seconds until then (at most 90)."""
    began = time.perf_counter()
    while (taken := time.perf_counter() - began) < 90:
        before = cpu_seconds(server.processes)
        await asyncio.sleep(3)
        if cpu_seconds(server.processes) - before < 0.6:
            return taken
    return taken


async def _command_line(report: Report, server: Server, plan: Plan) -> None:
    report.say(f"mlflow: {plan.command_runs} whole processes that upload and register 1 MiB")
    made = await ask(server, "prepare", stem="command")
    taken = []
    for _ in range(plan.command_runs):
        began = time.perf_counter()
        await ask(server, "publish", stem="command", experiment=made["experiment"], file=made["file"])
        taken.append(time.perf_counter() - began)
    report.add("mlflow_cli_publish_1mib_s", statistics.median(taken), "s", n=len(taken), route="proxy", does=ROW)
    helps = []
    for _ in range(plan.command_runs):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(PYTHON, "-m", "mlflow", "--help"),
            stdout=asyncio.subprocess.DEVNULL,
            env=server.parts.environment,
            cwd=server.parts.folder,
        )
        await process.wait()
        helps.append(time.perf_counter() - began)
    report.add("mlflow_cli_help_s", statistics.median(helps), "s", n=len(helps))


async def _latency(report: Report, server: Server, plan: Plan) -> None:
    report.say(f"mlflow: {plan.latency_count} registrations at 5/s")
    answer = await ask(server, "latency", size=2**20, count=plan.latency_count, per_second=5.0)
    if len(answer["seconds"]) != plan.latency_count:
        raise RuntimeError(f"{plan.latency_count - len(answer['seconds'])} registrations failed")
    report.quantiles("mlflow_event_to_available", answer["seconds"], size_mib=1, per_second=5, does=ROW)


async def _throughput(report: Report, server: Server, plan: Plan) -> None:
    """Rows alone, as ours are counted with artifacts uploaded before; then with the upload, by both routes."""
    for shape in ("many models", "one model"):
        await _registering(report, server, plan, shape, "uploaded before", None)
    for route, place in ROUTES.items():
        await _registering(report, server, plan, "many models", route, place)


async def _registering(report: Report, server: Server, plan: Plan, shape: str, route: str, place: str | None) -> None:
    report.say(f"mlflow: throughput, {shape}, {route}: {plan.seconds:g} s")
    upload = route in ROUTES
    name = "mlflow_published_versions_per_s" if upload else "mlflow_verified_versions_per_s"
    suffix = ("_one_model" if shape == "one model" else "") + ("_direct" if route == "direct" else "")
    before = cpu_seconds(server.processes)
    answer = await ask(
        server,
        "throughput",
        stem=f"{shape[:4]}-{route[:6]}".replace(" ", "-"),
        shape=shape,
        upload=upload,
        artifact_location=place,
        seconds=plan.seconds,
        warm_up_s=WARM_UP_S,
        size=4096,
        publishers=8,
    )
    failures = {"first_failure": answer["first_failure"]} if answer["failed"] else {}
    report.add(
        name + suffix,
        answer["versions"] / plan.seconds,
        "1/s",
        shape=shape,
        route=route,
        publishers=8,
        size=4096,
        seconds=plan.seconds,
        calls="create_run + log_artifact + create_model_version" if upload else "create_model_version",
        server_cpu_s=round(cpu_seconds(server.processes) - before, 1),
        client_cpu_s=round(answer["client_cpu_s"], 1),
        failed=answer["failed"],
        **failures,
        does=ROW,
    )


async def _big_files(report: Report, server: Server, plan: Plan) -> None:
    """Named as ours are; straight to S3 with `_direct` at the end."""
    for gib in plan.big_gib:
        for files in (1, 64):
            size = int(gib * 2**30) // files
            stem = f"{gib:g}gib" + ("" if files == 1 else f"_{files}_files")
            limit = await asyncio.to_thread(_limit, server.parts, files, size)
            report.add(
                f"mlflow_limit_wall_{stem}_s", limit, "s", files=files, does="raw PUTs by parts + one SHA-256 pass"
            )
            for route, place in ROUTES.items():
                report.say(f"mlflow: {gib:g} GiB in {files} file(s), {route}")
                name = f"big-{stem}-{route}".replace(".", "-")
                answer = await ask(server, "big_files", stem=name, files=files, size=size, artifact_location=place)
                more: dict[str, Any] = {"gib": gib, "files": files, "route": route}
                end = "" if route == "proxy" else f"_{route}"
                report.add(f"mlflow_publish_wall_{stem}_s{end}", answer["publish_s"], "s", **more, does=ROW)
                ratio = answer["publish_s"] / limit
                report.add(f"mlflow_publish_{stem}_over_limit{end}", ratio, "1", **more, does=ROW)
                seconds = answer["download_s"]
                report.add(f"mlflow_download_wall_{stem}_s{end}", seconds, "s", **more, does="bytes not checked")


def _limit(on: Parts, files: int, size: int) -> float:
    """Seconds of uploading as many files of random bytes with a plain client, 64 MiB a part, and hashing each once."""
    client = on.client()
    taken = 0.0
    path = on.folder / "limit.bin"
    for number in range(files):
        with path.open("wb") as out:
            for left in range(size, 0, -(2**22)):
                out.write(os.urandom(min(left, 2**22)))
        began = time.perf_counter()
        client.fput_object(BUCKET, f"limit/{files}/{number}", str(path), part_size=2**26, num_parallel_uploads=4)
        with path.open("rb") as again:
            hashlib.file_digest(again, "sha256")
        taken += time.perf_counter() - began
        client.remove_object(BUCKET, f"limit/{files}/{number}")
    path.unlink()
    return taken
