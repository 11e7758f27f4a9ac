"""The effects of an administrator's drop-ins on the units of a job. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from ..messages.message import join, msg
from ..system.timespan import parse_timespan

_TRIGGERS = frozenset({
    "OnCalendar", "OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec",
})  # fmt: skip
_IDENTITY = frozenset({"User", "Group", "DynamicUser", "StateDirectory", "RootDirectory", "RootImage"})
_BARS = ("Condition", "Assert", "ExecCondition", "ExecStartPre")
_YES = ("yes", "true", "on", "1")
_KEYS = frozenset({"LoadCredential", "LoadCredentialEncrypted"})


def effects(texts: Iterable[str], *, timeout: float, catch_up: bool) -> tuple[str, ...]:
    """Return the changes of drop-ins that affect runs of the job, as ends of sentences.

    Args:
        texts: The texts of the drop-ins in the order of DropInPaths=.
        timeout: The job's timeout in seconds.
        catch_up: The job's setting catch_up.
    """
    said = _read(texts)
    found: list[str] = []
    if "ExecStart" in said:
        now = _values(said, "ExecStart")
        found.append(
            msg("it replaces ExecStart= with {command!r}", command=now[-1])
            if now
            else msg("it empties ExecStart=")
        )
    if any("" in said[key] for key in _KEYS & said.keys()):
        found.append(msg("it empties LoadCredential=, which passes the API key to the unit"))
    triggers = sorted(_TRIGGERS & said.keys())
    if any("" in said[key] for key in triggers):
        found.append(msg("it replaces the schedule"))
    elif any(_values(said, key) for key in triggers):
        found.append(
            msg(
                "it adds {triggers} to the schedule; to replace the schedule, put an empty "
                "OnCalendar= above it",
                triggers=join(", ", triggers),
            )
        )
    if "Unit" in said:
        found.append(
            msg("Unit= sets the unit that the timer starts to {units}", units=" ".join(_values(said, "Unit")))
        )
    if not catch_up and _last(said, "Persistent") in _YES:
        found.append(msg("Persistent= catches up missed runs, although the job has catch_up = false"))
    found += _blocking_conditions(said)
    if (restart := _last(said, "Restart")) in ("always", "on-success"):
        found.append(msg("Restart={value} starts another run after each run", value=restart))
    if "" in said.get("RestartPreventExitStatus", ()):
        found.append(
            msg("it empties RestartPreventExitStatus=, so Restart= can repeat a run that Dify has started")
        )
    limit = _seconds(_last(said, "TimeoutStartSec"))
    if limit is not None and limit < timeout:
        found.append(
            msg("TimeoutStartSec= ends a run before the job's own timeout, and the run goes on in Dify")
        )
    found += [
        msg("it sets {key}= to {value!r}", key=key, value=_last(said, key))
        for key in sorted(_IDENTITY & said.keys())
    ]
    return tuple(found)


def _blocking_conditions(said: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield the settings that prevent the service from starting or from reaching Dify."""
    if bars := sorted(f"{key}=" for key in said if _values(said, key) and key.startswith(_BARS)):
        yield msg("{settings} can prevent the start of a run", settings=join(", ", bars))
    if _last(said, "PrivateNetwork") in _YES:
        yield msg("PrivateNetwork= disconnects the run from the network")
    if _last(said, "IPAddressDeny"):
        yield msg("IPAddressDeny= can block the connection to Dify")


def _read(texts: Iterable[str]) -> Mapping[str, list[str]]:
    """Return the assignments of each setting in all drop-ins, in order."""
    said: dict[str, list[str]] = {}
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            key, assigned, value = line.strip().partition("=")
            if assigned and not key.startswith(("#", ";", "[")):
                said.setdefault(key.strip(), []).append(value.strip())
    return said


def _values(said: Mapping[str, list[str]], key: str) -> list[str]:
    """Return the final values of a setting; an empty assignment resets it (systemd.syntax(7))."""
    assigned = said.get(key, [])
    return assigned[max((at + 1 for at, value in enumerate(assigned) if not value), default=0) :]


def _last(said: Mapping[str, list[str]], key: str) -> str:
    return "".join(_values(said, key)[-1:])


def _seconds(text: str) -> float | None:
    if text == "infinity" or not text:
        return None
    try:
        return parse_timespan(text) or None  # 0 means no limit
    except ValueError:
        return None
