import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support.command import APPS, KEY, SHORT_WAITS, Command
from tests.support.fake_dify.server import FakeDify
from tests.support.home import Home
from tests.support.socket_server import FixedResponseServer, RespondWith

if TYPE_CHECKING:
    from tests.support.fork_server import Forks


@pytest.fixture
def dify_job(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    yield command
    command.close()


@pytest.fixture
def short_waits(dify_job: Command) -> None:
    """Limit waits for what the servers of these tests never send."""
    dify_job.limits |= SHORT_WAITS


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def cron_home(tmp_path: Path) -> Home:
    return Home(tmp_path, booted=False)


@pytest.fixture
def server() -> Iterator[FakeDify]:
    with FakeDify(APPS, ping=0.5) as made:
        yield made


@pytest.fixture
def old_server() -> Iterator[FakeDify]:
    with FakeDify(APPS, version="1.11.2", ping=0.5) as made:
        yield made


@pytest.fixture
def environ(server: FakeDify) -> dict[str, str]:
    return {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": server.base_url}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files with the key of a server called localhost, and with its certificates, the authority's last."""
    directory = tmp_path_factory.mktemp("tls")
    key, cert = directory / "key.pem", directory / "cert.pem"
    authority = trustme.CA()
    server = authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=2))
    server.private_key_pem.write_to_path(key)
    for pem in (*server.cert_chain_pems, authority.cert_pem):
        pem.write_to_path(cert, append=True)
    return key, cert


@pytest.fixture(scope="module")
def forks() -> Iterator["Forks"]:
    from tests.support.fork_server import Forks  # noqa: PLC0415 - which imports all that a run does

    with Forks() as made:
        yield made


@pytest.fixture
def respond_with() -> Iterator[RespondWith]:
    """Function that starts a server with one response to every request."""
    with contextlib.ExitStack() as servers:
        yield lambda *args, **settings: servers.enter_context(FixedResponseServer(*args, **settings))
