"""Runs a graph on the thread ``t`` under a given id, to its end or to a question.

python -m tests._run_id_worker URL MODE RUN_ID [COUNT]
"""

from __future__ import annotations

import sys
from uuid import UUID

from langgraph_persist import Persist
from tests.graphs import approval_graph, chain_of, run


def main(url: str, mode: str, run_id: UUID, counts: list[int]) -> None:
    builder = chain_of(["a", "b"]) if counts else approval_graph()
    with Persist(url) as persist:
        graph = persist.attach(builder.compile(checkpointer=persist.checkpointer))
        run(graph, mode, {"count": sum(counts)}, persist.config("t", run_id=run_id))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], UUID(sys.argv[3]), [int(count) for count in sys.argv[4:]])
