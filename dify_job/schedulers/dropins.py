"""What an administrator's drop-ins do to the units of a job. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..messages.message import join, msg
from ..system.timespan import parse_timespan

_TRIGGERS = frozenset({
    "OnCalendar", "OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec",
})  # fmt: skip
_IDENTITY = frozenset({"User", "Group", "DynamicUser", "StateDirectory", "RootDirectory", "RootImage"})
_BARS = ("Condition", "Assert", "ExecCondition", "ExecStartPre")
_YES = ("yes", "true", "on", "1")
_KEYS = frozenset({"LoadCredential", "LoadCredentialEncrypted"})


@dataclass(slots=True)
class _Directive:
    """One setting in all drop-ins, in their order: reset by an empty assignment, then set."""

    reset: bool = False
    values: list[str] = field(default_factory=list)


def effects(texts: Iterable[str], *, timeout: float, catch_up: bool) -> tuple[str, ...]:
    """Return what drop-ins change of what the job relies on, as ends of sentences.

    Args:
        texts: Their texts, in the order of DropInPaths=.
        timeout: The job's own, in seconds.
        catch_up: Whether the job makes up for missed runs.
    """
    said = _read(texts)
    found: list[str] = []
    if "ExecStart" in said:
        now = said["ExecStart"].values
        found.append(
            msg("ExecStart= is replaced by {now!r}", now=now[-1]) if now else msg("ExecStart= is emptied")
        )
    if any(said[key].reset for key in _KEYS & said.keys()):
        found.append(msg("the key's LoadCredential= is emptied"))
    triggers = sorted(_TRIGGERS & said.keys())
    if any(said[key].reset for key in triggers):
        found.append(msg("the schedule is replaced"))
    elif any(said[key].values for key in triggers):
        found.append(
            msg(
                "{triggers} adds to the schedule (an empty OnCalendar= first would replace it)",
                triggers=join(", ", triggers),
            )
        )
    if "Unit" in said:
        found.append(msg("the timer starts {values}", values=" ".join(said["Unit"].values)))
    if not catch_up and _last(said, "Persistent") in _YES:
        found.append(msg("Persistent= catches up missed runs, which catch_up = false forbids"))
    found += _bars(said)
    limit = _seconds(_last(said, "TimeoutStartSec"))
    if limit is not None and limit < timeout:
        found.append(msg("TimeoutStartSec= ends a run before the job's own timeout, and Dify goes on"))
    found += [
        msg("{key}= is {last!r}", key=key, last=_last(said, key)) for key in sorted(_IDENTITY & said.keys())
    ]
    return tuple(found)


def _bars(said: Mapping[str, _Directive]) -> Iterator[str]:
    """What stands between the timer and Dify."""
    if bars := sorted(f"{key}=" for key, one in said.items() if one.values and key.startswith(_BARS)):
        yield msg("{bars} can prevent a start", bars=join(", ", bars))
    if _last(said, "PrivateNetwork") in _YES:
        yield msg("PrivateNetwork= leaves it no network")
    if _last(said, "IPAddressDeny"):
        yield msg("IPAddressDeny= can cut it off from Dify")


def _read(texts: Iterable[str]) -> Mapping[str, _Directive]:
    said: dict[str, _Directive] = {}
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            key, assigned, value = line.strip().partition("=")
            if not assigned or key.startswith(("#", ";", "[")):
                continue
            one = said.setdefault(key.strip(), _Directive())
            if value.strip():
                one.values.append(value.strip())
            else:
                one.reset, one.values = True, []
    return said


def _last(said: Mapping[str, _Directive], key: str) -> str:
    return said[key].values[-1] if key in said and said[key].values else ""


def _seconds(text: str) -> float | None:
    if text == "infinity" or not text:
        return None
    try:
        return parse_timespan(text) or None  # 0 is no limit
    except ValueError:
        return None
