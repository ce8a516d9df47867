"""What keeps content of a thread, as far as the settings of its database let it."""

from __future__ import annotations

from langgraph_persist.extract.keep import Keep, Nothing, References
from langgraph_persist.journal import Journal


def keep_for(journal: Journal, thread_id: str, *, private: bool = False) -> Keep:
    """By reference where content may be readable, else sealed, or not at all."""
    capture, seal = journal.capture, journal.seal
    if private or not (capture.content and (journal.content or seal is not None)):
        return Nothing(capture)
    if seal is not None:
        return Keep(capture, seal.close)
    return References(journal.runs.known(thread_id).ids, capture)
