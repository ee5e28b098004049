"""Plain data as JSON that any program reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: Any, only_ascii: bool = False) -> str:  # noqa: ANN401
    """Return data as indented JSON; what is not a finite number becomes null."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=only_ascii) + "\n"


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
