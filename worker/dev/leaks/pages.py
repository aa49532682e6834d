"""What is served over HTTP to whoever looks: Flower's pages and the API's, and any other address."""

import base64
import http.client
import json
import time
from itertools import islice
from urllib.parse import quote, urlsplit

from worker.dev.leaks.places import Found
from worker.errors import BadRequest

_OF_FLOWER = ("/", "/workers", "/tasks", "/broker", "/api/tasks", "/api/queues/length", "/metrics")
_OF_THE_API = ("/metrics", "/openapi.json", "/docs")
_OF_EACH = 5
"""Tasks, and workers, whose own pages are looked at: they are made from one template."""

_PATIENCE_S = 30.0
"""For a process that died a moment ago, as one may in a check, and is being started again."""


def of_flower(url: str, login: str | None) -> Found:
    """Its lists, and the pages of some of the tasks and workers in them."""
    at = url.rstrip("/")
    for path in _OF_FLOWER:
        yield page(f"{at}{path}", login)
    workers = page(f"{at}/api/workers?refresh=true", login)
    tasks = page(f"{at}/api/tasks?limit={_OF_EACH}", login)
    yield workers
    for name in islice(_names(workers[1]), _OF_EACH):
        yield page(f"{at}/worker/{quote(name)}", login)
    for id_ in islice(_names(tasks[1]), _OF_EACH):
        yield page(f"{at}/task/{quote(id_)}", login)
        yield page(f"{at}/api/task/info/{quote(id_)}", login)


def of_api(url: str) -> Found:
    """What it serves without a login."""
    for path in _OF_THE_API:
        yield page(f"{url.rstrip('/')}{path}")


def page(url: str, login: str | None = None) -> tuple[str, bytes]:
    """A page with its headers, an error's too. Raises `BadRequest` if the login is refused or nobody answers."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        connection = kind(parts.netloc, timeout=10)
        try:
            connection.request("GET", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", headers=headers)
            answer = connection.getresponse()
            said = str(answer.headers).encode() + answer.read()
            break
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > deadline:
                raise BadRequest("page_away", f"{url} does not answer: {type(error).__name__}") from None
            time.sleep(0.5)
        finally:
            connection.close()
    if answer.status in (401, 403):
        raise BadRequest("page_refused", f"{url} answers {answer.status}: is the login right?")
    return f"page {url}", said


def _names(said: bytes) -> list[str]:
    """The keys of the object that a page is; none if it is no such page."""
    body = said.partition(b"\n\n")[2]
    try:
        document = json.loads(body)
    except ValueError:
        return []
    return list(document) if isinstance(document, dict) else []
