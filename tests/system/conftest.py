"""A batch server that the tests of this directory share, and benches that end what they started."""

from __future__ import annotations

import pytest

from tests.system.bench import Bench, Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Without faults and without a key; tests look at what its ledger adds."""
    server = Server(tmp_path_factory.mktemp("shared"))
    yield server
    server.end()


@pytest.fixture
def serve(tmp_path):
    """Start servers of a test's own."""
    servers = []

    def start(**settings):
        servers.append(Server(tmp_path / "servers", **settings))
        return servers[-1]

    yield start
    for one in servers:
        one.end()


@pytest.fixture
def bench(tmp_path, server):
    """A bench on the shared server."""
    bench = Bench(tmp_path / "bench", server.url)
    yield bench
    bench.end()
