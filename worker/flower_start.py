"""How Flower starts: behind a login, reading only, on this machine unless told otherwise.

By itself Flower shows everything to whoever reaches its port, and lets them stop workers. `worker flower` starts it
with better defaults. The app itself refuses one that is open, however it was started (`celery -A worker.app flower`
too).
"""

import sys
from contextlib import suppress
from ipaddress import ip_address

import click
from celery import Celery, current_app

from worker.errors import Misconfigured
from worker.hints import AWAY, IMPATIENT
from worker.secret_files import secret

LOGIN = "FLOWER_BASIC_AUTH"

_FORGET_WORKERS_S = 3600
_TASKS_KEPT = 10_000
_COLUMNS = "name,args,state,received,runtime,worker"

_may_be_open = False


def serve(host: str, port: int, *, without_login: bool, allow_changes: bool) -> None:
    """Serve until SIGTERM or Ctrl-C; then workers are told to send no more events.

    The login is `user:password` in FLOWER_BASIC_AUTH or in the file that FLOWER_BASIC_AUTH_FILE names; several stand
    with commas between them. Raises `Misconfigured`.
    """
    global _may_be_open  # asked by the app, deep in Flower's start
    _may_be_open = _is_open_here(host, without_login)
    logins = [] if _may_be_open else _logins()

    from celery.bin.celery import celery
    from flower.options import options
    from flower.views import BaseHandler

    from worker import logs
    from worker.broker import QUEUES
    from worker.settings import load_settings

    logs.configure(load_settings())
    options.basic_auth = logins
    # By itself it knows the queues of those workers that answered its first question in time.
    BaseHandler.get_active_queue_names = lambda _: sorted(QUEUES)
    arguments = {
        "address": host,
        "port": port,
        "read_only": not allow_changes,
        "max_tasks": _TASKS_KEPT,
        "purge_offline_workers": _FORGET_WORKERS_S,
        "tasks_columns": _COLUMNS,
        "logging": "none",  # ours are set up already
    }
    said = [f"--{name}={value}" for name, value in arguments.items()]
    try:
        celery(["--app", "worker.app", "--quiet", "flower", *said], prog_name="celery")
    finally:
        _end_events(current_app)  # the one that the command has loaded


def _end_events(app: Celery) -> None:
    """Flower had workers send events; nobody listens any more. A broker that is away is not waited for."""
    configuration = {**app.conf.broker_transport_options, **IMPATIENT}
    with suppress(*AWAY), app.connection(transport_options=configuration) as connection:
        app.control.disable_events(connection=connection)


def refuse_if_open() -> None:
    """Called when the app has been loaded for some command of Celery's; ends the process if it is an open Flower."""
    if not _is_flower() or _may_be_open:
        return
    from flower.options import options

    if not (options.basic_auth or options.auth):
        raise SystemExit(
            f"worker: Flower would be open to everybody who reaches its port: set {LOGIN} or {LOGIN}_FILE, "
            "or use `worker flower --without-login` on this machine"
        )


def _is_flower() -> bool:
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.info_name == "flower":
            return "flower.options" in sys.modules
        context = context.parent
    return False


def _is_open_here(host: str, without_login: bool) -> bool:
    if not without_login:
        return False
    if secret(LOGIN):
        raise Misconfigured(f"--without-login, but there is a login in {LOGIN}: leave out one of them")
    try:
        is_here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise Misconfigured(f"Flower without a login listens on loopback addresses only, not on {host}")
    return True


def _logins() -> list[str]:
    given = secret(LOGIN)
    if not given:
        raise Misconfigured(
            f"Flower needs a login: user:password in {LOGIN}, or in a file named by {LOGIN}_FILE; "
            "on this machine alone, --without-login"
        )
    logins = given.split(",")
    if not all(user and password for user, _, password in (login.partition(":") for login in logins)):
        raise Misconfigured(f"{LOGIN} must be user:password, or several with commas between them")
    return logins
