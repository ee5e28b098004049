"""What every test stands on: one thread, no network, caches of its own."""

import gc
import importlib.util
import json
import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from ddbench.discovery import asking, introspection
from hypothesis import HealthCheck, settings

# Tests start dozens of interpreters: without byte code each would compile torch's sources anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Whether a test passes must not depend on how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    yield
    gc.unfreeze()  # compiled libraries report at the end what is never freed


@pytest.fixture(scope="module", autouse=True)
def _little_garbage():
    """Take what is loaded out of the collector's sight: each metered job looks through the rest."""
    import torch._dynamo  # noqa: F401  (the first optimizer does: a third of all objects)

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    """A cache folder for the whole session, so that mnist-mini is unpacked once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def kills():
    """The program benchmarks/kills.py as a module."""
    script = Path(__file__).parents[1] / "benchmarks" / "kills.py"
    spec = importlib.util.spec_from_file_location("kills_script", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules["kills_script"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self, address, *rest):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to connect to {address!r}")
        return connect(self, address, *rest)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, request, tmp_path_factory):
    """Keep commands and child processes away from the user's cache and data."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(request.getfixturevalue("shared_cache")))
    if not request.node.get_closest_marker("realdata"):
        monkeypatch.delenv("DDBENCH_DATA", raising=False)


class _AnsweringHere(asking.Child):
    """Answers as the child process does, without one."""

    def _ask(self, request, asked):
        answers = introspection.respond(self._message(request, asked), {})
        return json.loads(json.dumps(answers))


@pytest.fixture
def asked_here(monkeypatch):
    """Let commands in this process ask methods here: it has torch loaded already.

    For tests of what is asked and told; of those of the process itself, none.
    """
    monkeypatch.setattr("ddbench.planning.workspace.Child", _AnsweringHere)
