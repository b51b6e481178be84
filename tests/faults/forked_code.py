"""What `muniment run` loads, for the process that the others are forked from; see forked.py."""

import gc
from importlib import import_module

from muniment.server.wiring import chosen

for name in ("cli.commands.server", "cli.main", "server.commands", "server.process", "server.stack"):
    import_module(f"muniment.{name}")
chosen(())
for name in ("uvloop", "uvicorn.protocols.http.auto", "uvicorn.lifespan.off", "aiokafka.admin"):  # loaded when needed
    import_module(name)
gc.collect()
gc.freeze()  # what the forks share stays shared
