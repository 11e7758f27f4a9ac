"""Maintain constraints.txt, the versions of tools and libraries for the tests.

`renew` installs the newest of everything into a fresh environment and writes constraints.txt.
`oldest` prints constraints.txt with the run-time libraries at the minima that setup.cfg declares.
"""

import configparser
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_ROOT = Path(__file__).parents[1]
FILE = _ROOT / "constraints.txt"
_HEADER = "# What `make` installs tests and tools with. `make constraints` renews it.\n"
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+) *>= *([0-9.]+)")


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[ =<>@;\[]", requirement, maxsplit=1)[0]).lower()


def minima(extra: str = "") -> dict[str, str]:
    """Return the minimum versions of run-time libraries in setup.cfg, or those of an extra."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(_ROOT / "setup.cfg")
    text = config["options.extras_require"][extra] if extra else config["options"]["install_requires"]
    return {name_of(name): version for name, version in _REQUIREMENT.findall(text)}


def oldest(constraints: str) -> str:
    """Return the constraints with each run-time library at its minimum version."""
    lowest = minima() | minima("notify")
    lines = [line for line in constraints.splitlines() if name_of(line) not in lowest]
    return "\n".join([*lines, *(f"{name}=={version}" for name, version in sorted(lowest.items()))]) + "\n"


def renewed() -> str:
    """Return the versions that pip resolves today, without the project itself."""
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        pip = [f"{directory}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-q", "-e", f"{_ROOT}[dev]"], check=True)
        frozen = subprocess.run(
            [*pip, "freeze", "--exclude-editable"], check=True, capture_output=True, text=True
        ).stdout
    return _HEADER + "".join(sorted(frozen.splitlines(keepends=True), key=str.lower))


def main(action: str) -> None:
    match action:
        case "renew":
            FILE.write_text(renewed())
        case "oldest":
            print(oldest(FILE.read_text()), end="")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["help"])
