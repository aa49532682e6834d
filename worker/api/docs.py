"""/docs: the OpenAPI document as a page to read. It loads nothing from anywhere and runs no script."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_STYLE = """
    body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
    code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f4f4f4; border-radius: 4px }
    code { padding: 0 .25em } pre { padding: .75em; overflow-x: auto }
    h2 { border-top: 1px solid #ddd; padding-top: 1em; margin-top: 2em; font-size: 1.1rem }
    table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .25em .75em .25em 0 }
    th, td { border-bottom: 1px solid #eee; vertical-align: top } summary { cursor: pointer }
"""


def serve_docs(app: FastAPI) -> None:
    """Add the page to `app`."""

    def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": _POLICY})

    app.add_api_route("/docs", docs, include_in_schema=False)


def page(document: Mapping[str, Any]) -> str:
    """The whole page. What is not known of a document of another form is left out."""
    title = escape(document["info"]["title"])
    said = "".join(
        _operation(method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    schemas = "".join(
        f'<h2 id="{escape(name)}"><code>{escape(name)}</code></h2>{_pre(schema)}'
        for name, schema in sorted(document.get("components", {}).get("schemas", {}).items())
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f'<h1>{title}</h1><p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>{said}<h1>Forms</h1>{schemas}'
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    scopes = [scope for needed in operation.get("security", []) for some in needed.values() for scope in some]
    needs = f"<p>Scope <code>{escape(' '.join(scopes))}</code></p>" if scopes else ""
    return "".join(
        (
            f"<h2><code>{method} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}</p>{needs}",
            _table(("parameter", "in", "what"), _parameters(operation)),
            "".join(_bodies(operation.get("requestBody", {}).get("content", {}))),
            _table(("answer", "what", "form"), _answers(operation)),
        )
    )


def _parameters(operation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for parameter in operation.get("parameters", []):
        name = f"<code>{escape(parameter['name'])}</code>{' (required)' if parameter.get('required') else ''}"
        yield name, escape(parameter["in"]), escape(parameter.get("description", ""))


def _answers(operation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for status, answer in sorted(operation["responses"].items()):
        forms = [form.get("schema", {}).get("$ref", "") for form in answer.get("content", {}).values()]
        yield escape(status), escape(answer.get("description", "")), " ".join(_link(form) for form in forms if form)


def _bodies(content: Mapping[str, Any]) -> Iterator[str]:
    for media_type, form in content.items():
        head = f"<summary>Body, <code>{escape(media_type)}</code></summary>"
        yield f"<details>{head}{_pre(form.get('schema', {}))}</details>"


def _link(reference: str) -> str:
    name = escape(reference.rsplit("/", 1)[-1])
    return f'<a href="#{name}">{name}</a>'


def _pre(schema: Mapping[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{body}</table>" if body else ""
