"""The result of a service's process, from its service manager."""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

PROPERTIES = "Result,ExecMainCode,ExecMainStatus,InvocationID,ExecMainStartTimestamp,ExecMainExitTimestamp"
_CODES = {"1": "exited", "2": "killed", "3": "dumped"}  # si_code of waitid(2)
_TIME = re.compile(r"\w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitResult:
    """How a unit's process ended.

    Attributes:
        unit: The unit's name.
        result: The value of $SERVICE_RESULT (systemd.exec(5)).
        code: exited, killed or dumped; empty without a process.
        status: The exit status, or the signal's name without SIG.
        invocation: The invocation id, hexadecimal.
        began: The start of the process, aware; None if unknown.
        ended: The end of the process, aware; None if unknown.
        user: The unit belongs to a user manager.
    """

    unit: str
    result: str = ""
    code: str = ""
    status: str = ""
    invocation: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    user: bool = False

    @classmethod
    def of_properties(cls, unit: str, properties: Mapping[str, str]) -> "UnitResult":
        """Parse the output of `systemctl show` with TZ=UTC.

        Args:
            unit: The unit's name.
            properties: The properties; a missing one counts as empty.
        """
        code = _CODES.get(properties.get("ExecMainCode", ""), "")
        status = properties.get("ExecMainStatus", "")
        return cls(
            unit=unit,
            result=properties.get("Result", ""),
            code=code,
            status=_signal(status) if code in ("killed", "dumped") else status,
            invocation=properties.get("InvocationID", ""),
            began=time_of(properties.get("ExecMainStartTimestamp", "")),
            ended=time_of(properties.get("ExecMainExitTimestamp", "")),
        )

    @classmethod
    def of_environ(cls, environ: Mapping[str, str]) -> "UnitResult | None":
        """Read the variables that systemd 251 and newer set for an OnFailure= unit; None without them."""
        if "MONITOR_SERVICE_RESULT" not in environ:
            return None
        return cls(
            unit=environ.get("MONITOR_UNIT", ""),
            result=environ["MONITOR_SERVICE_RESULT"],
            code=environ.get("MONITOR_EXIT_CODE", ""),
            status=environ.get("MONITOR_EXIT_STATUS", ""),
            invocation=environ.get("MONITOR_INVOCATION_ID", ""),
        )

    @property
    def exit_code(self) -> int | None:
        """The exit status of a process that exited."""
        return int(self.status) if self.code == "exited" and self.status.isdigit() else None

    @property
    def unknown(self) -> bool:
        """True if the manager did not answer: some have no bus for a dynamic user."""
        return not (self.result or self.code)


def time_of(text: str) -> datetime | None:
    """Parse a timestamp of `systemctl show` with TZ=UTC; None for n/a and never."""
    found = _TIME.search(text)
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if found else None


def _signal(number: str) -> str:
    try:
        return signal.Signals(int(number)).name.removeprefix("SIG")
    except ValueError:
        return number
