"""Jobs and their results, as run folders hold them and workers send them.

Each record is one dataclass that writer, reader and child process share. A file of JSON is read by
`read`, which refuses what does not fit by name; `made` makes a record of the values that a job
gives, under the same rules, so that what is written can be read again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ddbench import NUMERICS
from ddbench.store.atomic_files import check_plain
from ddbench.text.lines import brief

SCHEMA = 1
PRECISION = "float32"
DONE, FAILED, SKIPPED = "done", "failed", "skipped"
TEST, VALIDATION = "test", "validation"  # whose images an evaluation tests on
FROM_FILE = "file:"  # before the code of a set that a file brought: not of what is installed

_STRICT = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)
_HALVES = re.compile("[\ud800-\udfff]")
_LARGEST = 1e30  # of any quantity: sums and ratios of such numbers stay finite


class NewerSchemaError(ValueError):
    """A record that a later ddbench wrote: a result all the same, which nothing may replace."""


def _plain(value: Any) -> Any:  # noqa: ANN401
    if value:
        check_plain(value, depth=1)
    return value


Plain = Annotated[dict[str, Any], AfterValidator(_plain)]  # values of JSON by name
Quantity = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
Whole = Annotated[int, Field(ge=-(10**18), le=10**18)]
Counted = Annotated[int, Field(ge=0, le=10**30)]
AboveZero = Annotated[int, Field(ge=1, le=10**18)]
Status = Literal["done", "failed", "skipped"]


# -- jobs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condensation:
    """One method on one dataset, architecture, init, ipc and seed."""

    id: str
    options_id: str  # the same for every version of the code
    row: str
    method: str
    source: str
    code: str
    dataset: str
    dataset_fingerprint: str
    architecture: str
    init: str
    ipc: AboveZero
    seed: Whole
    config: Plain
    steps: int
    published_steps: int
    budget_s: float | None
    cycle: int
    step_unit: str
    labels: str
    balanced: bool
    reduced: Mapping[str, Sequence[Any]]
    quick: bool
    control_of: str | None
    paper: str
    bibtex: str
    snapshots: tuple[int, ...] = ()
    precision: str = PRECISION
    numerics: int = NUMERICS
    series_id: str = ""  # the same for every number of steps: one may be extended to another
    extensions: Mapping[str, str] = field(default_factory=dict)  # fingerprints of those it uses
    published: bool = True  # or `reduced` tells from defaults that no publication gives
    validate: int | None = None  # percent held out of the training images it is made from
    setting: str = ""  # of the data, such as "federated"; "" where they are in one place

    def record(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """Fresh networks of one architecture trained on one set under one protocol.

    `condensation` None is the whole training set: the reference row. `recipe` holds every
    constant of the training; with `own_recipe` the set's own recipe is laid over it. `tested_on` is
    the split whose images the networks are tested on: "test" or "validation".
    """

    id: str
    condensation: str | None
    snapshot: Counted | None
    dataset: str
    dataset_fingerprint: str
    architecture: str
    protocol: str
    recipe: Plain
    own_recipe: bool
    networks: int
    extensions: Mapping[str, str] = field(default_factory=dict)
    validate: int | None = None  # percent held out of the training images, as its condensation has
    tested_on: str = TEST

    def record(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A row that will not be done, and why; with `evaluate_on`, its evaluation there alone."""

    __pydantic_config__ = _STRICT

    row: str
    dataset: str
    architecture: str
    init: str
    ipc: int
    seed: int
    reason: str
    failed: bool = False  # a broken plugin, rather than something impossible or absent
    evaluate_on: str = ""
    options: Plain = field(default_factory=dict)  # that `--set` gives it


# -- results -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a condensation cost. Seconds are of the wall clock; FLOPs 2 for a multiply-add.

    None is unknown: of a set that a file brought without saying it.
    """

    __pydantic_config__ = _STRICT

    init_s: Quantity | None
    condense_s: Quantity | None
    export_s: Quantity | None
    artifact_s: Quantity | None
    waited_s: Quantity = 0.0
    flops_condense: Quantity | None  # of init, steps and export together; None is unknown
    flops_init: Quantity | None = None  # earlier records have it in the steps
    flops_export: Quantity | None = None
    flops_artifact: Quantity | None
    flops_lower_bound: bool = False
    peak_memory: Counted | None = None  # bytes
    bytes: Counted
    bytes_ratio: Quantity | None = None  # to ipc float32 images a class
    steps_done: Counted
    declared_flops: dict[str, Counted] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class UsedArtifact:
    """An artifact that a condensation used, with what building it cost in full."""

    __pydantic_config__ = _STRICT

    id: str
    kind: str
    seconds: Quantity
    flops: Quantity
    lower_bound: bool
    bytes: Counted


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """What every record holds beside its job: how it ended, where and with what."""

    status: Status
    reason: str | None = None
    traceback: str | None = None
    started: str = ""
    ended: str = ""
    device: str = ""
    hardware: Plain = field(default_factory=dict)
    hardware_class: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    host: str = ""
    set_sha256: str | None = None
    schema: Annotated[int, Field(ge=1)] = SCHEMA


@dataclass(frozen=True, kw_only=True)
class CondensationRecord(Condensation, _Ended):
    """A condensation that has ended."""

    __pydantic_config__ = _STRICT

    kind: Literal["condensation"] = "condensation"
    kept_state: bool = False
    stale: bool = False
    costs: Costs | None = None  # of one that is done
    artifacts: list[UsedArtifact] = field(default_factory=list)
    whitening: Plain | None = None
    measures: Plain = field(default_factory=dict)
    metrics: dict[str, Quantity] = field(default_factory=dict)
    chose_on_split: bool = False
    images: Counted | None = None
    repeated_images: Counted = 0  # of the initial set: of classes with fewer than ipc
    missing_classes: list[Counted] = field(default_factory=list)
    resumed: Counted = 0
    extended_from: str | None = None
    converged: bool = False
    ended_by: str | None = None
    from_file: str = ""  # that brought the set; "" where it was condensed here

    @property
    def steps_done(self) -> int:
        """The steps it took: a budget or convergence may end it early."""
        return self.costs.steps_done if self.costs else self.steps


@dataclass(frozen=True, kw_only=True)
class EvaluationRecord(Evaluation, _Ended):
    """An evaluation that has ended; `networks` accuracies, from 0 to 1, where it is done."""

    __pydantic_config__ = _STRICT

    kind: Literal["evaluation"] = "evaluation"
    labels: str = "hard"
    regime: str = ""  # of a set's own recipe: HL, SL or SL+KD
    chosen_lr: Quantity | None = None  # of the recipe's learning rates, on training images
    accuracies: list[Share] = field(default_factory=list)
    balanced_accuracies: list[Share] = field(default_factory=list)
    train_s: list[Quantity] = field(default_factory=list)  # wall seconds of each network
    test_s: list[Quantity] = field(default_factory=list)
    flops_train: Quantity | None = None
    flops_lower_bound: bool = False
    forward_macs: Quantity | None = None
    peak_memory: Counted | None = None
    n_test: AboveZero | None = None
    images: Counted | None = None
    decoded_images: Counted | None = None  # that a network sees in an epoch
    steps_trained: Counted | None = None  # of one network
    images_seen: Counted | None = None
    flops_targets: Counted | None = None  # teachers' part of flops_train
    chance: Share | None = None
    majority: Share | None = None
    validation: str = ""  # how the images were held out that it was tested on
    fingerprint: str = ""
    shape: list[Counted] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)
    test_counts: list[Counted] = field(default_factory=list)
    train_counts: list[Counted] = field(default_factory=list)
    class_counts_test: list[Counted] = field(default_factory=list)
    data_notes: str = ""


Result = CondensationRecord | EvaluationRecord


class Planned(BaseModel):
    """What a manifest keeps of a plan: the ids of its jobs, and what it left out."""

    model_config = ConfigDict(strict=True, extra="ignore")

    condensations: list[str] = []
    evaluations: list[str] = []
    skipped: list[Skipped] = []
    kept_stale: list[str] = []
    datasets: Plain = {}
    expected: dict[str, Quantity] = {}  # seconds of each job by id, as predicted at the start


class Manifest(BaseModel):
    """One start of a run: what was asked for, by whom, and what came of it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    schema_: int = Field(SCHEMA, alias="schema", ge=1)
    started: str
    command: list[str] = []
    commit: str | None = None
    dirty: bool = False
    versions: dict[str, str] = {}
    preset: str = ""
    code: dict[str, str] = {}  # fingerprint of each method's code
    registry: Plain = {}
    plan: Planned = Planned()
    options: Plain = {}
    host: str = ""
    ended: str | None = None
    stopped: str = ""
    blocked: dict[str, str] = {}


# -- reading and making them -------------------------------------------------------------------


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    """Return what reads a kind of record, made when one is needed: it takes a while."""
    kinds = {
        "condensation": CondensationRecord,
        "evaluation": EvaluationRecord,
        "manifest": Manifest,
    }
    return TypeAdapter(kinds[kind])


def read(content: bytes, kind: str) -> Any:  # noqa: ANN401  (of the kind that was asked for)
    """Return the record in a file: a `CondensationRecord`, `EvaluationRecord` or `Manifest`.

    Raises:
        NewerSchemaError: A later ddbench wrote it.
        ValueError: It is torn, foreign, or of another kind; says which.
    """
    try:
        record = _adapter(kind).validate_json(content)
    except ValidationError as error:
        record = _read_slowly(content, kind, error)
    if kind != "manifest":
        _check_newer(record.schema)
        lacking = [name for name in _NEEDED[kind] if getattr(record, name) in (None, [])]
        if record.status == DONE and lacking:
            raise ValueError(f"{lacking[0]} is missing of a {kind} that is done")
    return record


_NEEDED = {"condensation": ("costs",), "evaluation": ("accuracies", "train_s", "test_s", "n_test")}


def _check_newer(schema: object) -> None:
    if isinstance(schema, int) and schema > SCHEMA:  # what else it holds is not for us to judge
        raise NewerSchemaError(
            f"schema {schema} is newer than this ddbench reads ({SCHEMA}); upgrade"
        )


def _read_slowly(content: bytes, kind: str, error: ValidationError) -> Any:  # noqa: ANN401
    """Say what is wrong with a record; read one whose text holds half a surrogate pair."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise ValueError(f"not whole JSON ({fault})") from fault
    if not isinstance(values, dict):
        raise ValueError(f"holds a {type(values).__name__}; expected an object")
    _check_newer(values.get("schema"))
    if kind != "manifest":
        if values.get("kind") != kind or not isinstance(values.get("id"), str):
            raise ValueError(f"no {kind} record of ddbench")
        if not isinstance(values.get("schema"), int) or isinstance(values["schema"], bool):
            raise ValueError(f"schema {values.get('schema')!r} is unknown")
        if values.get("status") not in (DONE, FAILED, SKIPPED):
            raise ValueError(f"status {values.get('status')!r} is none of done, failed, skipped")
    check_plain(values)
    text = json.dumps(values, ensure_ascii=False)
    if _HALVES.search(text):  # of a surrogate pair: json reads them, pydantic does not
        shown = _HALVES.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text)
        try:
            return _adapter(kind).validate_json(shown)
        except ValidationError as other:
            error = other
    raise ValueError(_fault(error)) from error


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "dataclass_type": "an object",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
}


def _fault(error: ValidationError) -> str:
    one = error.errors(include_url=False)[0]
    place = ".".join(map(str, one["loc"])) or "the record"
    if one["type"] == "missing":
        return f"{place} is missing"
    expected = _EXPECTED.get(one["type"], "")
    if expected:
        words = expected.format(**one.get("ctx", {}))
        return f"{place} is {brief(one['input'])}; expected {words}"
    return f"{place}: {one['msg'].removeprefix('Value error, ')}"


def made(kind: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401  (of the kind asked for)
    """Return the record of some values, as it will be read.

    Raises:
        ValueError: They could not be read again; says where.
    """
    values = {"schema": SCHEMA, "kind": kind, **values}
    check_plain(values)
    return read(json.dumps(values).encode(), kind)
