"""`worker sandbox`, `worker api` and `worker flower`: one service in the foreground."""

from typing import Annotated

import typer

_LONGEST_GOODBYE_S = 3
"""A client that waits for a job's end asks again; the process need not wait with it."""


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8081,
    control: Annotated[bool, typer.Option("--control", help="Serve the journal, reset and faults.")] = False,
    seed: Annotated[int, typer.Option(help="Same seed and same calls, same answers.")] = 0,
    latency: Annotated[str, typer.Option(help="50ms, 50ms-200ms, or drivers=5s,criminal=10s.")] = "0",
    allow_non_loopback: Annotated[
        bool, typer.Option("--allow-non-loopback", help="Let other machines reach it.")
    ] = False,
) -> None:
    """Run a provider to practise on: fictional people, real HTTP. Prints its URL once it answers."""
    from worker.dev.sandbox.server import serve

    serve(host, port, control=control, seed=seed, latency=latency, allow_non_loopback=allow_non_loopback)


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Serve the HTTP API; /docs describes it."""
    import gc

    import uvicorn

    from worker.api.app import create_app

    app = create_app()
    gc.collect()
    gc.freeze()  # looking through what stays for ever takes a tenth of a second, in which no request is answered
    uvicorn.run(
        app,
        host=host,
        port=port,
        server_header=False,
        access_log=False,  # a line for each request costs as much as asking the database; /metrics counts them
        timeout_graceful_shutdown=_LONGEST_GOODBYE_S,
    )


def flower(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5555,
    without_login: Annotated[
        bool, typer.Option("--without-login", help="Let in everybody on this machine; loopback addresses only.")
    ] = False,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Let those who are logged in stop workers and revoke hints.")
    ] = False,
) -> None:
    """Serve Flower: what workers and hints do. The login is user:password in FLOWER_BASIC_AUTH or its _FILE."""
    from worker.flower_start import serve

    serve(host, port, without_login=without_login, allow_changes=allow_changes)
