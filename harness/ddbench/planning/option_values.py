"""Parse command-line options that are given as text: durations, sizes, settings."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from ddbench.planning.registry import RegistryError

LONGEST_S = 3650 * 86400.0  # that an option may ask for: ten years


def parse_setting(text: str) -> tuple[str, str, list[Any]]:
    """Return (row, option, values) of `--set gm.batch_real=128` (values: `64,128` is an axis).

    Raises:
        RegistryError: The text has another form.
    """
    match = re.fullmatch(r"(?P<row>[^=]+)\.(?P<option>\w+)=(?P<value>.*)", text, re.DOTALL)
    if not match:
        raise RegistryError([f"--set {text}: expected METHOD.OPTION=VALUE, as gm.batch_real=128"])
    values = [match["value"]] if match["value"][:1] in "[\"'" else match["value"].split(",")
    return match["row"], match["option"], [value_of(value) for value in values]


def value_of(text: str) -> Any:  # noqa: ANN401
    """Return a value as TOML writes it; words without quotes stay words."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_duration(text: str, option: str) -> float:
    """Return seconds of "90", "90s", "9m", "2h".

    Raises:
        RegistryError: The text has another form.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|)", text.strip())
    if not match or float(match[1]) == 0:
        raise RegistryError([f"{option} {text}: is not a duration; write 90s, 9m, 2h"])
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if seconds > LONGEST_S:
        raise RegistryError([f"{option} {text}: is too long; at most {LONGEST_S / 86400:g}d"])
    return seconds


def parse_percentage(text: str, option: str) -> int:
    """Return the whole percentage of "20%" or "20", from 1 to 90.

    Raises:
        RegistryError: The text has another form.
    """
    match = re.fullmatch(r"([0-9]{1,2})\s*%?", text.strip())
    if not match or not 1 <= int(match[1]) <= 90:
        raise RegistryError([f"{option} {text}: expected a percentage from 1% to 90%, as 20%"])
    return int(match[1])


def parse_accuracy(text: str, option: str) -> float:
    """Return the share of an accuracy in percent: 0.452 of "45.2" or "45.2%".

    Raises:
        RegistryError: It is none, or may be a share: below 1 without a percent sign.
    """
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]+)?)\s*(%?)", text.strip())
    number = float(match[1]) if match else -1.0
    if match is None or number > 100 or (number < 1 and not match[2]):
        raise RegistryError([f"{option} {text}: expected an accuracy in percent, as 45.2%"])
    return number / 100


def parse_size(text: str, option: str) -> int:
    """Return bytes of "500M", "4G", "1.5g"; 0 of "none".

    Raises:
        RegistryError: The text has another form.
    """
    if text.strip().lower() == "none":
        return 0
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt])(?:i?b)?", text.strip().lower())
    if not match or float(match[1]) == 0:
        raise RegistryError([f"{option} {text}: is not a size; write 500M, 4G or none"])
    return int(float(match[1]) * 1024 ** (" kmgt".index(match[2])))
