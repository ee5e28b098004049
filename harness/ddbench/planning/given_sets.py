"""The plan of sets that files bring: each stands for a condensation that has been done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ddbench import formations
from ddbench.contract.set_fit import doubts, misfits, unsaid_space
from ddbench.contract.synthetic_set import SyntheticSet
from ddbench.formations.parts import Parts
from ddbench.planning.axes import drop_second_spellings, find_architectures, find_datasets
from ddbench.planning.draft import Draft, PlanningContext
from ddbench.planning.evaluations import add_evaluations
from ddbench.planning.jobs import Choices, DatasetFacts, Plan
from ddbench.planning.name_checks import check_names
from ddbench.planning.planner import begun
from ddbench.planning.registry import Registry, RegistryError
from ddbench.planning.stand_ins import condensation_of
from ddbench.planning.table_checks import read_architectures
from ddbench.planning.test_set import with_tests
from ddbench.store.records import TEST


@dataclass(frozen=True)
class GivenSet:
    """A set, and the file that brings it."""

    path: Path
    synthetic: SyntheticSet

    @property
    def made_of(self) -> str | None:
        """The dataset that it says it was made of."""
        name = self.synthetic.provenance.get("dataset")
        return name if isinstance(name, str) and name else None


@dataclass(frozen=True)
class PlanOfSets:
    """What is to be evaluated.

    Attributes:
        plan: Its condensations stand for the sets, in their order.
        given: Id of such a condensation -> its set.
        doubts: What a person should know, one sentence each.
    """

    plan: Plan
    given: Mapping[str, GivenSet]
    doubts: tuple[str, ...] = ()


def plan_of_sets(
    registry: Registry,
    choices: Choices,
    context: PlanningContext,
    sets: Sequence[GivenSet],
    parts: Parts | None = None,
) -> PlanOfSets:
    """Return the plan of evaluations of some sets on one dataset.

    Args:
        registry: Protocols and presets.
        choices: The preset, and what is chosen in place of its networks and protocols; the one
            dataset.
        context: What can be asked.
        sets: One or more.
        parts: The parts that sets may name; None are those of ddbench.

    Raises:
        RegistryError: Every unknown name, and every set that does not fit the data, at once.
    """
    draft = begun(registry, choices, context)
    axes = {"reference": None, "architectures": draft.preset.evaluate_on}
    draft.preset = draft.preset.model_copy(update=axes)
    read_architectures(draft)
    check_names(draft)
    find_datasets(draft)
    find_architectures(draft)
    drop_second_spellings(draft)
    draft.problems += draft.absent.values()
    given: dict[str, GivenSet] = {}
    said: list[str] = []
    for dataset, facts in draft.plan.datasets.items():
        for one in sets:
            problems = _problems(one, facts, parts)
            draft.problems += problems
            if not problems:
                said += [f"{one.path}: {text}" for text in _doubts(one, facts)]
                given.setdefault(_add(draft, one, dataset, facts), one)
    if draft.problems:
        raise RegistryError(dict.fromkeys(draft.problems))
    add_evaluations(draft)
    plan = with_tests(draft.plan, given)
    tests = [job for job in plan.evaluations if job.tested_on == TEST]
    return PlanOfSets(replace(plan, evaluations=tests), given, tuple(said))


def _problems(one: GivenSet, facts: DatasetFacts, parts: Parts | None) -> list[str]:
    synthetic = one.synthetic
    problems = misfits(synthetic, facts.shape, facts.space) or formations.problems(
        synthetic, num_classes=facts.num_classes, shape=facts.shape, parts=parts
    )
    problems = problems or [text for text in [unsaid_space(one.synthetic)] if text]
    return [f"{one.path}: does not fit {facts.name}: {text}" for text in problems]


def _doubts(one: GivenSet, facts: DatasetFacts) -> list[str]:
    return doubts(one.synthetic, facts.name, facts.space)


def _add(draft: Draft, one: GivenSet, dataset: str, facts: DatasetFacts) -> str:
    """Add the condensation that a set stands for, once; return its id."""
    names = formations.part_names(one.synthetic)
    code = {part: code for part in names if (code := draft.formations.get(part, ""))}
    job = condensation_of(one.synthetic, one.path, (dataset, facts), code)
    own = bool(one.synthetic.recipe or one.synthetic.formation) or one.synthetic.soft
    if job.id not in [other.id for other in draft.plan.condensations]:
        draft.plan.condensations.append(job)
        draft.own_recipe[job.id] = own
    return job.id


def choices_for(sets: Sequence[GivenSet], dataset: str | None, **axes: Any) -> Choices:  # noqa: ANN401
    """Return the choices for some sets: the data that they were made of, unless others are named.

    Of data whose training images were held out in part, the same part is held out again: the
    constants of the normalisation depend on it.

    Raises:
        RegistryError: They say none, or were made of different data.
    """
    if dataset is not None and any(one.made_of != dataset for one in sets):
        return Choices(datasets=(dataset,), **axes)
    made_of = dict.fromkeys((one.made_of, one.synthetic.provenance.get("validate")) for one in sets)
    unsaid = [f"{one.path}" for one in sets if one.made_of is None]
    if unsaid:
        raise RegistryError([f"{unsaid[0]}: does not say of what data it was made; give --dataset"])
    if len(made_of) > 1:
        names = " and ".join(str(name) for name, _ in made_of)
        raise RegistryError([f"the sets were made of {names}; evaluate them apart"])
    ((name, validate),) = made_of
    held_out = validate if isinstance(validate, int) and 1 <= validate <= 90 else None
    return Choices(datasets=(str(name),), validate=held_out, **axes)
