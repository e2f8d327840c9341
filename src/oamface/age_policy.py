"""A decision about an age threshold that one face gives: accept, refuse, or refer to a person or another proof."""

from dataclasses import dataclass, fields, replace
from numbers import Integral, Real

from oamface.errors import OptionError
from oamface.labels import AGES
from oamface.quality import LEAST_QUALITY
from oamface.results import AgeDecision, Face, ImageResult

_YEARS = ("age", "challenge")


@dataclass(frozen=True)
class AgePolicy:
    """How to decide whether a person may be let through as `age` or older, from one image of the face.

    A face is accepted if it is estimated at `challenge` years or more ("Challenge 25"; None: the age itself) and the
    probability of being younger than `age` is at most max_false_accept. It is refused if the probability of being
    `age` or older is at most max_false_refuse. All others are referred, as is a face whose quality is below
    LEAST_QUALITY: give these people another way to show their age, and those who were refused a way to appeal.
    Raises OptionError: age or challenge not 1 to 100, challenge below age, a rate outside 0..1, rates that overlap.
    """

    age: int = 18
    challenge: int | None = None
    max_false_accept: float = 0.05
    max_false_refuse: float = 0.05

    def __post_init__(self) -> None:
        for name, years in (("age", self.age), ("challenge", self.least_estimate)):
            if not isinstance(years, Integral) or isinstance(years, bool) or not 1 <= years <= AGES[-1]:
                raise OptionError(f"{name} {years!r}: expected a whole number of years from 1 to {AGES[-1]}")
        if self.least_estimate < self.age:
            raise OptionError(f"challenge {self.challenge}: below the age {self.age}, so it would accept the younger")
        for name in ("max_false_accept", "max_false_refuse"):
            rate = getattr(self, name)
            if not isinstance(rate, Real) or isinstance(rate, bool) or not 0 <= float(rate) <= 1:
                raise OptionError(f"{name} {rate!r}: expected a number within 0 to 1")
        if self.max_false_accept + self.max_false_refuse > 1:
            rates = f"max_false_accept {self.max_false_accept} and max_false_refuse {self.max_false_refuse}"
            raise OptionError(f"{rates} add up to more than 1: a face could be both")

    @classmethod
    def parse(cls, text: str) -> "AgePolicy":
        """The policy of a text such as "age=18,challenge=25,max_false_accept=0.01", as options write it.

        Raises OptionError: an unknown field, one given twice or without a number, and whatever AgePolicy raises.
        """
        if not text.strip():
            raise OptionError("policy: is empty; expected such as age=18,challenge=25")
        known = [field.name for field in fields(cls)]
        values: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in known:
                raise OptionError(f"policy: unknown field {name[:40]!r}; known are {', '.join(known)}, as in age=18")
            if name in values:
                raise OptionError(f"policy: {name} is given twice")
            values[name] = _number(name, value)
        return cls(**values)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """The text that `parse` reads; equal policies have equal texts, also where one says 0 and the other 0.0."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        texts = {name: value if name in _YEARS else abs(float(value)) for name, value in values.items()}
        return ",".join(f"{name}={text}" for name, text in texts.items() if text is not None)

    @property
    def least_estimate(self) -> int:
        """Years: the challenge, or the age where there is none."""
        return self.age if self.challenge is None else self.challenge

    def decide(self, face: Face | None) -> AgeDecision:
        """The decision about a face of a result; None, where no face was found, is referred.

        Raises TaskError: the age of the face was not predicted; OptionError: something else than a face.
        """
        if face is not None and not isinstance(face, Face):
            raise OptionError(f"decide: expected a face of a result or None, not {type(face).__name__}; see apply")
        if face is None:
            return AgeDecision("refer", None, ("no face",))
        probability, reasons = face.age.at_least(self.age), unreliable(face)
        if reasons:
            return AgeDecision("refer", probability, reasons)
        if probability <= self.max_false_refuse:
            return AgeDecision("refuse", probability)
        may_be_younger = 1 - probability > self.max_false_accept
        if face.age.years >= self.least_estimate and not may_be_younger:
            return AgeDecision("accept", probability)
        if may_be_younger:
            return AgeDecision("refer", probability, (f"may be younger than {self.age}",))
        return AgeDecision("refer", probability, (f"looks younger than {self.least_estimate}",))

    def apply(self, result: ImageResult) -> ImageResult:
        """The result with a decision about each of its faces, or about the image where it has none.

        Raises TaskError: the age was not predicted.
        """
        if not result.faces:
            return replace(result, decision=self.decide(None))
        return replace(result, faces=tuple(replace(face, decision=self.decide(face)) for face in result))


def unreliable(face: Face) -> tuple[str, ...]:
    """Why the estimate of a face is not to be relied on; () if nothing speaks against it."""
    if not face.detected:
        return ("no face",)
    if face.quality is None or face.quality.score >= LEAST_QUALITY:
        return ()
    return face.quality.reasons


def _number(name: str, text: str) -> float:
    """A field of a policy as text: years as whole numbers. Raises OptionError."""
    try:
        if not text.isascii() or "_" in text:  # Python reads other digits, and 1_8 as 18
            raise ValueError
        return int(text) if name in _YEARS else float(text)
    except ValueError:
        kind = "a whole number of years" if name in _YEARS else "a number within 0 to 1"
        raise OptionError(f"policy: {name} {text[:40]!r}: expected {kind}") from None
