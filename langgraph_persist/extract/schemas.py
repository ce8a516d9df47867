"""The tools that a model was told of, as rows of ``tools``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from langgraph_persist.extract.encode import to_json
from langgraph_persist.extract.guard import first, mapping, no_rows, total
from langgraph_persist.extract.shapes import shape_of
from langgraph_persist.extract.text import optional_name, optional_text

_LISTS = ("tools", "functions", "function_declarations", "functionDeclarations")
_WRAPPERS = ("function", "toolSpec")
_SCHEMAS = ("parameters", "input_schema", "inputSchema", "parameters_json_schema")


@total(no_rows)
def bound_tools(
    invocation_params: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **payload: object,
) -> list[dict[str, Any]]:
    """Name, description and schema of each tool bound to a model, in any provider's form.

    The schema of a structured answer is left out, though models are told of it as of a tool.
    """
    params = mapping(invocation_params)
    if not ("toolConfig" in params or any(map(params.get, _LISTS))):
        return []
    found = [*_tools(params), *_tools(mapping(params.get("toolConfig")))]
    if not found:
        return []
    answer = mapping(mapping(mapping(options).get("ls_structured_output_format")).get("schema"))
    return [tool for tool in found if tool["name"] != answer.get("title")]


def named_tools(params: Mapping[str, Any]) -> dict[str, Any]:
    """Call parameters with the tools' names alone: what they are is in a table of theirs."""
    named = {key: _names(value) if key in _LISTS else value for key, value in params.items()}
    if isinstance(config := params.get("toolConfig"), Mapping):
        named["toolConfig"] = named_tools(config)
    return named


def _names(listed: Any) -> Any:
    """The names in a list of tools; what has none stays as it is."""
    if not isinstance(listed, Sequence) or isinstance(listed, (str, bytes)):
        return listed
    found = [[tool["name"] for tool in _tool(item)] or [item] for item in listed]
    return [name for names in found for name in names]


def _tools(params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in _LISTS:
        listed = params.get(name)
        if listed and isinstance(listed, Sequence) and not isinstance(listed, (str, bytes)):
            for item in listed:
                yield from _tool(item)


def _tool(item: Any) -> Iterator[dict[str, Any]]:
    given = _fields(item)
    yield from _tools(given)
    for wrapper in _WRAPPERS:
        if inner := _fields(given.get(wrapper)):
            yield from _tool(inner)
    if (name := optional_name(given.get("name"))) is not None:
        schema = first(given, *_SCHEMAS)
        schema = mapping(schema).get("json", schema)
        yield {
            "name": name,
            "description": optional_text(given.get("description")),
            "parameters_schema": to_json(schema) if schema else None,
        }


def _fields(item: Any) -> Mapping[str, Any]:
    # Not at the top: importing these takes longer than most of this package.
    from langchain_core.tools import BaseTool
    from langchain_core.utils.function_calling import convert_to_openai_tool

    if isinstance(item, BaseTool):
        return convert_to_openai_tool(item)
    return mapping(shape_of(item) if isinstance(item, BaseModel) else item)
