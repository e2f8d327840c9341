"""A decision about an age threshold that one face gives: accept, refuse, or refer to a person or another proof."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from oamface.age_thresholds import check_thresholds
from oamface.errors import OptionError
from oamface.results import Face

Verdict = Literal["accept", "refuse", "refer"]

# What makes an estimate unreliable. The eyes of a crop of 128 pixels are 32 apart; half of that is a blurred crop.
LEAST_EYE_DISTANCE = 16.0  # pixels
LEAST_VISIBILITY = 0.6  # of the face
LARGEST_TURN = 0.35  # of the nose's tip from the middle between the eyes, in distances between eyes and mouth


@dataclass(frozen=True)
class AgeDecision:
    """What a policy says of one face. probability: of looking at least the policy's age, 0..1; None without a face.

    reasons: why it is referred; empty for the other verdicts.
    """

    verdict: Verdict
    probability: float | None
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        probability = None if self.probability is None else round(self.probability, 4)
        return {"verdict": self.verdict, "probability": probability, "reasons": list(self.reasons)}


@dataclass(frozen=True)
class AgePolicy:
    """How to decide whether a person may be let through as `age` or older, from one image of the face.

    A face is accepted if it is estimated at `challenge` years or more ("Challenge 25"; None: the age itself) and the
    probability of being younger than `age` is at most max_false_accept. It is refused if the probability of being
    `age` or older is at most max_false_refuse. All others are referred, as is a face too poor to estimate: give these
    people another way to show their age, and those who were refused a way to appeal.
    Raises OptionError: age or challenge not 1 to 100, challenge below age, a rate outside 0..1, rates that overlap.
    """

    age: int = 18
    challenge: int | None = None
    max_false_accept: float = 0.5
    max_false_refuse: float = 0.05

    def __post_init__(self) -> None:
        if min(check_thresholds([self.age, self.least_estimate])) < 1:
            raise OptionError(f"age {self.age}, challenge {self.challenge}: expected years from 1 to 100")
        if self.least_estimate < self.age:
            raise OptionError(f"challenge {self.challenge}: below the age {self.age}, so it would accept the younger")
        for name in ("max_false_accept", "max_false_refuse"):
            rate = getattr(self, name)
            if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate <= 1:
                raise OptionError(f"{name} {rate!r}: expected a number within 0 to 1")
        if self.max_false_accept + self.max_false_refuse > 1:
            raise OptionError("max_false_accept and max_false_refuse add up to more than 1: a face could be both")

    @property
    def least_estimate(self) -> int:
        """Years: the challenge, or the age where there is none."""
        return self.age if self.challenge is None else self.challenge

    def decide(self, face: Face | None) -> AgeDecision:
        """The decision about a face of a result; None, where no face was found, is referred.

        Raises TaskError: the age of the face was not predicted.
        """
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


def unreliable(face: Face) -> tuple[str, ...]:
    """Why the estimate of a face is not to be relied on; () if nothing speaks against it."""
    eyes, nose, mouth = face.landmarks[:2], face.landmarks[2], face.landmarks[3:].mean(0)
    across, down = eyes[1] - eyes[0], mouth - eyes.mean(0)
    height = max(float(np.linalg.norm(down)), 1e-6)
    # Eyes of a turned face are close together; its height tells its size.
    size = max(float(np.linalg.norm(across)), 0.85 * height)
    axis = np.array([down[1], -down[0]]) / height
    turn = abs(float((nose - (eyes.mean(0) + mouth) / 2) @ axis)) / height
    checks = {
        "no face": not face.detected,
        "too small": size < LEAST_EYE_DISTANCE,
        "occluded": face.visibility < LEAST_VISIBILITY,
        "turned": turn > LARGEST_TURN,
    }
    return tuple(reason for reason, applies in checks.items() if applies)
