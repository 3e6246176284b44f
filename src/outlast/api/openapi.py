"""The OpenAPI 3.1 document, made from the route table and the registered tasks."""

import re
from typing import Any

from outlast.sdk.app import Outlast


def document(app: Outlast, routes: list[tuple[str, str, str, str]]) -> dict[str, Any]:
    """Describe every route, and each task as an operation of its own with its argument schema."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, scope, text in routes:
        if path.startswith("/v1/tasks/{task}"):
            continue
        clean = re.sub(r"\{(\w+):path\}", r"{\1}", path)
        paths.setdefault(clean, {})[method.lower()] = _operation(
            text, scope, re.findall(r"\{(\w+)\}", clean), body=method in {"POST", "PATCH"}
        )
    for task in app.tasks.values():
        operation = _operation(task.fn.__doc__ or f"Submit {task.name}.", "submit", [], body=True)
        operation["operationId"] = f"submit_{task.name}"
        operation["requestBody"]["content"]["application/json"]["schema"] = task.args_schema()
        paths[f"/v1/tasks/{task.name}/jobs"] = {"post": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Outlast", "version": "1"},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(text: str, scope: str, names: list[str], *, body: bool) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": text.strip().splitlines()[0],
        "security": [{"key": [scope]}],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "responses": {"default": {"description": "the answer, or an application/problem+json"}},
    }
    if body:
        content = {"application/json": {"schema": {"type": "object"}}}
        operation["requestBody"] = {"content": content}
    return operation
