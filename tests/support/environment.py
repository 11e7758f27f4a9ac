"""The environment of processes that tests start."""

import os


def bare_environ(**variables: str) -> dict[str, str]:
    """Return PATH, what coverage needs to measure the process, and `variables`."""
    passed = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COV")}
    return passed | variables
