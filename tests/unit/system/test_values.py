import copy
import dataclasses
import pickle
from typing import Any

import pytest

from dify_job.system.values import dataclass, field, replace


@dataclass(frozen=True)
class Point:
    """Two numbers."""

    x: int
    y: int = 0
    seen: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Named:
    """A name."""

    name: str
    at: Point = Point(1)
    notes: list[str] = field(default_factory=list, compare=False)


@dataclasses.dataclass(frozen=True)
class Original:
    """What the standard library makes of the same."""

    x: int
    y: int = 0
    seen: list[int] = dataclasses.field(default_factory=list)


def test_a_value_is_made_by_place_or_name_with_its_defaults() -> None:
    assert (Point(1).x, Point(1, 2).y, Point(x=1, y=2).y) == (1, 2, 2)
    assert Point(1).seen is not Point(1).seen
    assert Named(name="a").at == Point(1)


@pytest.mark.parametrize(
    ("args", "given"), [((), {}), ((1, 2, [], 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})]
)
def test_what_dataclasses_refuse_is_refused(args: tuple[Any, ...], given: dict[str, Any]) -> None:
    for cls in (Point, Original):
        with pytest.raises(TypeError):
            cls(*args, **given)
    with pytest.raises(TypeError):
        Named("a")  # type: ignore[call-arg]


def test_a_value_is_frozen_equal_by_content_and_hashed_by_it() -> None:
    point = Point(1, 2, ())  # type: ignore[arg-type]
    assert point == Point(1, 2, ())  # type: ignore[arg-type]
    assert hash(point) == hash(Point(1, 2, ()))  # type: ignore[arg-type]
    assert point != Point(1)
    assert Named(name="a", notes=["b"]) == Named(name="a")
    assert point != Original(1, 2)  # type: ignore[comparison-overlap]
    with pytest.raises(AttributeError):
        point.x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del point.x


def test_it_is_shown_copied_and_matched_as_a_dataclass() -> None:
    assert repr(Point(1)) == repr(Original(1)).replace("Original", "Point")
    assert copy.deepcopy(Point(1)) == pickle.loads(pickle.dumps(Point(1))) == Point(1)
    match Point(1, 2):
        case Point(x, 2):
            assert x == 1
        case _:
            pytest.fail("not matched")
    assert Named.__match_args__ == ()


def test_the_functions_of_dataclasses_take_it() -> None:
    named = Named(name="a")
    assert dataclasses.asdict(named) == {"name": "a", "at": {"x": 1, "y": 0, "seen": []}, "notes": []}
    assert [each.name for each in dataclasses.fields(Point)] == ["x", "y", "seen"]
    assert dataclasses.replace(named, name="b") == replace(named, name="b") == Named(name="b")
