"""A campaign tries very many cases: the whole of it is slow, a seeded sample runs with every other test."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Campaign:
    whole: bool
    seed: int

    @classmethod
    def named(cls, name: str) -> "Campaign":
        return cls(name == "whole", int(os.environ.get("DIFY_JOB_TEST_SEED", "0")))

    def pick(self, cases: Sequence[T], count: int) -> list[T]:
        """All cases, or `count` of them in their order."""
        if self.whole or count >= len(cases):
            return list(cases)
        chosen = sorted(random.Random(self.seed).sample(range(len(cases)), count))
        return [cases[at] for at in chosen]
