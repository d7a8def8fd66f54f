"""Checks bodies against the OpenAPI document of a server: the part of JSON Schema that such documents use, and no more."""

from __future__ import annotations

from typing import Any

IGNORED = {"description", "example", "examples", "format", "title", "default", "deprecated"}
KNOWN = {
    "type", "properties", "required", "items", "$ref", "enum", "const", "oneOf", "anyOf", "allOf", "additionalProperties",
    "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "propertyNames",
}  # fmt: skip
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float)}


def faults(value: Any, schema: Any, document: dict, where: str = "body") -> list[str]:
    """What is wrong with a value; empty if nothing is."""
    if schema is True or schema == {}:
        return []
    unknown = {word for word in schema if not word.startswith("x-")} - KNOWN - IGNORED
    if unknown:
        return [f"{where}: the checker does not know {sorted(unknown)}"]
    if "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return faults(value, target, document, where)
    found: list[str] = []
    kinds = schema.get("type")
    if kinds is not None:
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not any(isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in kinds):
            return [f"{where}: {value!r} is not {' or '.join(kinds)}"]
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r} is none of {schema['enum']}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{where}: {value!r} is not {schema['const']!r}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            found.append(f"{where}: {value} is out of bounds")
    if isinstance(value, dict):
        found += [f"{where}: lacks {name}" for name in schema.get("required", []) if name not in value]
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                found += faults(value[name], inner, document, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += faults(item, schema["items"], document, f"{where}[{index}]")
    for inner in schema.get("allOf", []):
        found += faults(value, inner, document, where)
    for word in ("oneOf", "anyOf"):
        if word in schema and all(faults(value, inner, document, where) for inner in schema[word]):
            found.append(f"{where}: fits none of {word}")
    return found


def answer_faults(document: dict, path: str, status: int, body: Any) -> list[str]:
    """What is wrong with an answer of one route."""
    responses = document["paths"][path]["post"]["responses"]
    if str(status) not in responses:
        return []  # Of the layers in front of every route: limits, unknown paths.
    content = responses[str(status)].get("content", {})
    for media in content.values():
        return faults(body, media["schema"], document)
    return [] if body is None else [f"{status} of {path} has no body"]
