"""What was parsed of a model's answer, by a parser after it or by the node around it."""

from __future__ import annotations

from typing import Any

from langgraph_persist.extract import answer_keys, is_same_text, structured_response, to_json
from langgraph_persist.handler.recording import Recording
from langgraph_persist.handler.spans import Span

_MEMORY = 256


class Parsed:
    """Adds to a generation what its answer was parsed to."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def answered(self, span: Span, answer: Any) -> None:
        """A model has answered: a parser may be given this next."""
        keys, answers = answer_keys(answer), span.root.answered_by
        with span.root.lock:
            answers.update(dict.fromkeys(keys, span))
            while len(answers) > _MEMORY:
                del answers[next(iter(answers))]
        for above in span.above():
            if above.kind == "node":
                above.answered = span
                break

    def by_parser(self, span: Span, given: Any, parsed: Any) -> None:
        """A parser has ended: what it was given tells whose answer that was."""
        answers = span.root.answered_by
        found = next((answers[key] for key in answer_keys(given) if key in answers), None)
        if found is not None and not is_same_text(given, parsed):
            self._record(found, parsed)

    def by_node(self, span: Span, outputs: Any) -> None:
        """A node has ended: an agent's own keeps its structured response in the state."""
        if (answered := span.answered) is None:
            return
        if (response := structured_response(outputs)) is not None:
            self._record(answered, response)

    def _record(self, generation: Span, parsed: Any) -> None:
        fields = {"status": "completed", "parsed_output": to_json(parsed)}
        self._recording.record(generation, generation.fields | fields)
