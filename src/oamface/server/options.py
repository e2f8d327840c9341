"""Options of a request to /v1, from its query, its form and its JSON alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from oamface.age_policy import AgePolicy
from oamface.age_thresholds import parse_thresholds
from oamface.errors import OamfaceError, OptionError
from oamface.labels import TASKS, check_tasks

OPTIONS = ("tasks", "crop", "attention", "at_least", "policy")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class RequestError(OamfaceError):
    """A request that is rejected. status: of HTTP. headers: of the response."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True)
class Options:
    """tasks: requested, see check_tasks. crop: each image is a crop of one face. attention: add attention maps.

    at_least: years for which the probability of looking so old or older is added. policy: decides about each face.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    crop: bool = False
    attention: bool = False
    at_least: tuple[int, ...] = ()
    policy: AgePolicy | None = None


def parse_options(pairs: Iterable[tuple[str, str]]) -> Options:
    """Options from names and values. Several `tasks` are joined; `crop` and `attention` must not contradict each other.

    Raises RequestError 422: an unknown, empty or contradictory option; LabelError: an unknown task.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in OPTIONS:
            raise unknown_name("parameter", name, OPTIONS)
        values.setdefault(name, []).append(value)
    tasks = [task.strip() for value in values.get("tasks", [",".join(TASKS)]) for task in value.split(",")]
    if "" in tasks:
        raise RequestError(422, f"tasks: a name is empty; known are {', '.join(TASKS)}, separated by commas")
    crop, attention = _parse_switch(values, "crop"), _parse_switch(values, "attention")
    policy, at_least = _parse_policy(values.get("policy", [])), _parse_years(values.get("at_least", []))
    if (policy is not None or at_least) and "age" not in tasks:
        raise RequestError(422, "policy and at_least are about the age, which tasks leaves out")
    return Options(check_tasks(tasks), crop, attention, at_least, policy)


def unknown_name(kind: str, name: str, known: Sequence[str]) -> RequestError:
    """The error about a parameter, field or key that does not exist; it lists those that do."""
    return RequestError(422, f"unknown {kind} {name[:60]!r}; known are {', '.join(known) or 'none here'}")


def _parse_years(values: Sequence[str]) -> tuple[int, ...]:
    try:
        return parse_thresholds(values)
    except OptionError as error:
        raise RequestError(422, str(error)) from error


def _parse_policy(values: Sequence[str]) -> AgePolicy | None:
    if len(values) > 1:
        raise RequestError(422, "policy: is given twice; send it once")
    try:
        return AgePolicy.parse(values[0]) if values else None
    except OptionError as error:
        raise RequestError(422, f"policy: {str(error).removeprefix('policy: ')}") from error


def _parse_switch(values: dict[str, list[str]], name: str) -> bool:
    switches = set()
    for value in values.get(name, ["false"]):
        if value.lower() not in _TRUE + _FALSE:
            raise RequestError(422, f"{name}: {value[:60]!r} is neither true nor false")
        switches.add(value.lower() in _TRUE)
    if len(switches) > 1:
        raise RequestError(422, f"{name}: is both true and false; send it once")
    return switches.pop()
