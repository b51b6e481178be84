"""Stand-ins that keep everything in memory. Each passes the contract suite of the port it stands in for."""

from muniment.adapters.memory.store import MemoryBlobStore

__all__ = ["MemoryBlobStore"]
