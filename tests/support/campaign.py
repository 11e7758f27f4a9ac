"""Campaigns: tests with very many cases, of which fast test runs try a seeded sample."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Campaign:
    """Selects the cases of a campaign.

    Attributes:
        whole: Select all cases.
        seed: Seed of the sample.
    """

    whole: bool
    seed: int

    @classmethod
    def named(cls, name: str) -> "Campaign":
        """Return the campaign for a parameter of the fixture: "whole" or "sample"."""
        return cls(name == "whole", int(os.environ.get("DIFY_JOB_TEST_SEED", "0")))

    def pick(self, cases: Sequence[T], count: int) -> list[T]:
        """Return all cases, or a sample of `count` cases in their order."""
        if self.whole or count >= len(cases):
            return list(cases)
        chosen = sorted(random.Random(self.seed).sample(range(len(cases)), count))
        return [cases[at] for at in chosen]
