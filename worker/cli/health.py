"""`worker health`: how the processes at WORKER_HEALTH_PORT are, as an exit status, for a container's health check."""

import http.client
from typing import Annotated

import typer

PATIENCE_S = 10.0


def health(
    port: Annotated[str | None, typer.Option(help="A port or a range; default: WORKER_HEALTH_PORT.")] = None,
    host: Annotated[str, typer.Option(help="Where they listen.")] = "127.0.0.1",
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether they can work, not only whether they live.")
    ] = False,
) -> None:
    """Ask each process that listens there. Exit status 0 if one or more do and all are well, else 1.

    With the API's port it asks the API.
    """
    from worker.errors import BadRequest
    from worker.settings import health_ports, load_settings

    try:
        ports = health_ports(port) if port is not None else load_settings().health_ports
    except ValueError as error:
        raise BadRequest("bad_port", f"--port {error}") from None
    if not ports:
        raise BadRequest("no_port", "WORKER_HEALTH_PORT is not set: name a --port")
    answers = {port: _ask(host, port, "/readyz" if ready else "/healthz") for port in ports}
    said = {port: answer for port, answer in answers.items() if answer is not None}
    for number, (status, body) in said.items():
        typer.echo(f"{host}:{number} {'well' if status == 200 else 'not well'}: {body}")
    if not said:
        typer.echo(f"nobody answers at {host}:{ports[0]}{f'-{ports[-1]}' if len(ports) > 1 else ''}", err=True)
    if not said or any(status != 200 for status, _ in said.values()):
        raise typer.Exit(1)


def _ask(host: str, port: int, path: str) -> tuple[int, str] | None:
    """Status and body; None where nobody listens. Never through a proxy, whatever the environment says."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(1000).decode(errors="replace")
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException) as error:
        return 0, f"it does not answer ({type(error).__name__})"
    finally:
        connection.close()
