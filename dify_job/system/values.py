"""Frozen dataclasses that cost nothing to define, for the rooms that a run imports.

The standard library's decorator compiles six methods for each class: over the thirty classes of a run 0.15 of
the CPU time of `import requests`. Here the methods are written once. Type checkers take the classes for what
they are, and so do fields, asdict and replace of dataclasses.
"""

from typing import TYPE_CHECKING

__all__ = ["dataclass", "field", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:

    def dataclass(*, frozen, kw_only=False):
        """As dataclasses.dataclass; frozen is True, and a default is shared, so it must be immutable."""
        if not frozen:
            raise TypeError("what changes is an ordinary class")

        def finish(cls):
            cls._names = tuple(cls.__annotations__)
            given = {name: vars(cls)[name] for name in cls._names if name in vars(cls)}
            cls._made = {name: value.make for name, value in given.items() if isinstance(value, field)}
            cls._defaults = {name: value for name, value in given.items() if name not in cls._made}
            cls._compared = [name for name in cls._names if getattr(given.get(name), "compare", True)]
            cls.__match_args__ = () if kw_only else cls._names
            cls.__dataclass_fields__ = _Fields()
            for name in ("__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"):
                if name not in vars(cls):
                    setattr(cls, name, vars(_Value)[name])
            return cls

        return finish

    class field:  # noqa: N801 - the name in dataclasses
        """As dataclasses.field: a default that is made for each value."""

        def __init__(self, *, default_factory, compare=True):
            self.make, self.compare = default_factory, compare

    def replace(value, /, **changes):
        """As dataclasses.replace."""
        return type(value)(**vars(value) | changes)

    class _Value:
        """The methods that each class gets."""

        def __init__(self, /, *args, **given):
            cls, told = type(self), vars(self)
            by_place = dict(zip(cls.__match_args__, args, strict=False))
            told |= cls._defaults | by_place | given
            for name, make in cls._made.items():
                if name not in told:
                    told[name] = make()
            extra = len(args) > len(by_place) or not by_place.keys().isdisjoint(given)
            if extra or told.keys() != set(cls._names):
                wanted = ", ".join(cls._names)
                raise TypeError(f"{cls.__name__} takes {wanted}; it got {args}, {', '.join(given)}")

        def __repr__(self):
            told = ", ".join(f"{name}={vars(self)[name]!r}" for name in self._names)
            return f"{type(self).__qualname__}({told})"

        def __eq__(self, other):
            if type(other) is not type(self):
                return NotImplemented
            return all(vars(self)[name] == vars(other)[name] for name in self._compared)

        def __hash__(self):
            return hash(tuple(vars(self)[name] for name in self._compared))

        def __setattr__(self, name, _value):
            raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

        def __delattr__(self, name):
            raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    class _Fields:
        """What dataclasses' own functions ask a class for, made when they ask: no run does."""

        def __get__(self, _value, cls):
            from dataclasses import make_dataclass  # noqa: PLC0415 - no run needs it

            cls.__dataclass_fields__ = make_dataclass(cls.__name__, cls.__annotations__).__dataclass_fields__
            return cls.__dataclass_fields__
