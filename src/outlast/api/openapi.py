"""The OpenAPI 3.1 document, made from the table of routes and the registered tasks."""

import re
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote

from outlast.api.codec import mounted_at
from outlast.api.routes import WAYS, Way
from outlast.api.schemas import PARAMETERS, SCHEMAS, ref
from outlast.core.limits import BODY_BYTES_MAX
from outlast.sdk.app import Outlast
from outlast.sdk.task import Task

_CONVERTER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_NOT_A_KEY: Final = re.compile(r"[^A-Za-z0-9._-]")
_LOCAL: Final = "#/$defs/"
_PER_TASK: Final = "/v1/tasks/{task}/jobs"
_OPEN: Final = {
    "/healthz": "Say that the process lives.",
    "/readyz": "Say whether the ledger answers and is migrated.",
}
_ABOUT: Final = (
    "Submit work, watch it, act on it. Times are RFC 3339 in UTC, IDs are UUIDv7. Every error is "
    "an application/problem+json with a stable `code`. Bodies are JSON of at most "
    f"{BODY_BYTES_MAX:,} bytes."
)


def document(app: Outlast) -> dict[str, Any]:
    """Describe every route, and each task as an operation of its own with its own schemas."""
    schemas: dict[str, Any] = dict(SCHEMAS)
    paths: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        if way.path == _PER_TASK:
            for task in app.tasks.values():
                place = f"/v1/tasks/{quote(task.name, safe='')}/jobs"
                paths[place] = {"post": _typed(way, task, schemas)}
        else:
            place = _CONVERTER.sub(r"{\1}", way.path)
            paths.setdefault(place, {})[way.method.lower()] = _operation(way)
    for place, text in _OPEN.items():
        answers = {"200": {"description": "yes"}, "503": _problem("no")}
        name = place.strip("/")
        paths[place] = {
            "get": {"summary": text, "operationId": name, "security": [], "responses": answers}
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Outlast", "version": version("outlast"), "description": _ABOUT},
        "servers": [{"url": mounted_at.get() or "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(way: Way) -> dict[str, Any]:
    text = (way.handler.__doc__ or "").strip()
    room = way.handler.__module__.rpartition(".")[2]
    parameters = [
        _parameter(name, "path", {"type": "string"}) for name in _CONVERTER.findall(way.path)
    ]
    parameters += [_parameter(name, "query", PARAMETERS[name]) for name in way.query]
    parameters += [_parameter(name, "header", PARAMETERS[name]) for name in way.headers]
    operation: dict[str, Any] = {
        "operationId": _operation_id(way),
        "summary": text.splitlines()[0] if text else way.path,
        "description": f"Needs the scope `{way.scope}`.",
        "tags": [room],
        "security": [{}, {"key": []}],
        "parameters": parameters,
        "responses": {
            str(way.status): _answer(way.gives),
            "4XX": _problem("the request was refused"),
            "5XX": _problem("try again later"),
        },
    }
    if way.takes is not None:
        plain = "/" in way.takes
        schema = {"type": "string", "format": "binary"} if plain else ref(way.takes)
        content = {way.takes if plain else "application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    if way.headers and "Prefer" in way.headers and way.status != 200:  # noqa: PLR2004
        operation["responses"]["200"] = {**_answer(way.gives), "description": "it has ended"}
    if way.method == "PUT":
        operation["responses"]["201"] = {**_answer(way.gives), "description": "it is new"}
    elif "If-None-Match" in way.headers:
        operation["responses"]["304"] = {"description": "unchanged"}
    if "Last-Event-ID" in way.headers:
        operation["responses"]["200"]["content"]["text/event-stream"] = {
            "schema": {"type": "string"}
        }
    return operation


def _operation_id(way: Way) -> str:
    words = _NOT_A_KEY.sub("_", way.path.removeprefix("/v1/")).strip("_")
    return f"{way.method.lower()}_{re.sub('_+', '_', words)}"


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _answer(gives: str) -> dict[str, Any]:
    if not gives:
        return {"description": "done"}
    if "/" in gives:
        return {"description": "the content", "content": {gives: {"schema": {"type": "string"}}}}
    return {"description": "the answer", "content": {"application/json": {"schema": ref(gives)}}}


def _problem(text: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": ref("Problem")}}
    return {"description": text, "content": content}


def _typed(way: Way, task: Task, schemas: dict[str, Any]) -> dict[str, Any]:
    """Describe the operation of one task; the schemas of its types join the document's."""
    key = _NOT_A_KEY.sub("_", task.name)
    schemas[f"{key}.args"] = _hoisted(task.args_schema(), key, schemas)
    result = _hoisted(task.result_schema(), key, schemas)
    operation = _operation(way)
    operation["operationId"] = f"submit_{key}"
    operation["summary"] = (task.fn.__doc__ or f"Submit {task.name}.").strip().splitlines()[0]
    operation["tags"] = ["tasks"]
    operation["parameters"] = [p for p in operation["parameters"] if p["in"] != "path"]
    operation["requestBody"]["content"]["application/json"]["schema"] = ref(f"{key}.args")
    job = {"allOf": [ref("Job"), {"properties": {"result": {"anyOf": [result, {"type": "null"}]}}}]}
    for status in ("200", "202"):
        operation["responses"][status]["content"]["application/json"]["schema"] = job
    return operation


def _hoisted(schema: dict[str, Any], key: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """Move a schema's own definitions to the document's, where references can find them."""

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: f"#/components/schemas/{key}.{item.removeprefix(_LOCAL)}"
                if name == "$ref" and isinstance(item, str) and item.startswith(_LOCAL)
                else moved(item)
                for name, item in value.items()
            }
        return [moved(item) for item in value] if isinstance(value, list) else value

    for name, definition in schema.get("$defs", {}).items():
        schemas[f"{key}.{name}"] = moved(definition)
    kept: dict[str, Any] = moved({k: v for k, v in schema.items() if k != "$defs"})
    return kept
