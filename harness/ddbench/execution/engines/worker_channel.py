"""What workers and their runner say to each other: JSON, so that reading runs no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any


def send(pipe: Connection, event: Mapping[str, Any]) -> None:
    """Send one event.

    Raises:
        OSError: The other end is gone.
    """
    pipe.send_bytes(json.dumps(event, default=str).encode())


def receive(pipe: Connection) -> dict[str, Any]:
    """Return the next event.

    Raises:
        EOFError, OSError: The other end is gone.
        ValueError: What came is no event: something else has written into the pipe.
    """
    event = json.loads(pipe.recv_bytes())
    if not (isinstance(event, dict) and isinstance(event.get("event"), str)):
        raise ValueError("no event")
    return event
