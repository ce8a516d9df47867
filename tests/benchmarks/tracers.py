"""What else records runs: tracers beside a stock checkpointer, from the extra ``bench``.

They are called as callbacks of their own graph only, since what they patch in LangChain would slow
the other contenders too. A round ends when they have exported all of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler

Read = Callable[[], list[Any]]


class Tracer:
    """A handler, what exports the rest of a round, and the spans that came since asked last."""

    def __init__(self, handler: BaseCallbackHandler, finish: Callable[[], Any], read: Read) -> None:
        self.handler, self.finish, self.read = handler, finish, read

    def spans(self) -> int:
        """How many spans came since asked last."""
        return len(self.read())


def langfuse(stack: ExitStack) -> Tracer:
    """Langfuse's handler, with an exporter that keeps spans in memory."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    client = Langfuse(
        public_key="pk-bench",
        secret_key="sk-bench",
        base_url="http://127.0.0.1:9",
        span_exporter=exporter,
        tracer_provider=TracerProvider(),
    )
    stack.callback(client.shutdown)
    return Tracer(CallbackHandler(public_key="pk-bench"), client.flush, _in_memory(exporter))


def openinference(stack: ExitStack) -> Tracer:
    """OpenInference's tracer, with a batch processor and an exporter that keeps spans in memory."""
    from openinference.instrumentation import OITracer, TraceConfig
    from openinference.instrumentation.langchain._tracer import OpenInferenceTracer
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    stack.callback(provider.shutdown)
    tracer = OITracer(provider.get_tracer("bench"), config=TraceConfig())
    handler = OpenInferenceTracer(tracer, False)
    return Tracer(handler, provider.force_flush, _in_memory(exporter))


def _in_memory(exporter: Any) -> Read:
    def read() -> list[Any]:
        found = list(exporter.get_finished_spans())
        exporter.clear()
        return found

    return read


def mlflow(stack: ExitStack) -> Tracer:
    """MLflow's tracer, as its autolog adds it, on SQLite."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow
    from mlflow.langchain.langchain_tracer import MlflowLangchainTracer

    folder = Path(stack.enter_context(TemporaryDirectory()))
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    artifacts = (folder / "artifacts").as_uri()
    experiment = mlflow.create_experiment("bench", artifact_location=artifacts)
    mlflow.set_experiment(experiment_id=experiment)

    def read() -> list[Any]:
        traces = mlflow.search_traces(
            locations=[experiment], return_type="list", max_results=100_000
        )
        if traces:
            mlflow.MlflowClient().delete_traces(
                experiment, trace_ids=[trace.info.trace_id for trace in traces]
            )
        return [span for trace in traces for span in trace.data.spans]

    return Tracer(MlflowLangchainTracer(), mlflow.flush_trace_async_logging, read)


TRACERS = {"langfuse": langfuse, "mlflow": mlflow, "openinference": openinference}
