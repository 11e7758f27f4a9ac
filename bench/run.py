"""Whole-process figures of `dify-job run`, interleaved with `import requests`; read, not asserted."""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from dify_job.standin.apps import App
from dify_job.standin.server import StandIn

ROUNDS = 15
KEY = "app-bench-0123456789"


def once(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """CPU seconds and peak MiB of one process."""
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, command
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    python = sys.executable
    dify_job = str(Path(python).with_name("dify-job"))
    with StandIn([App(KEY)]) as server, tempfile.TemporaryDirectory() as home:
        config = Path(home, "config.toml")
        config.write_text(f'[jobs.a]\nbase_url = "{server.base_url}"\napi_key_env = "K"\n')
        env = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "LANG": "C.UTF-8",
            "K": KEY,
            "STATE_DIRECTORY": f"{home}/s",
        }
        commands = {
            "python -c pass": [python, "-c", "pass"],
            'python -c "import requests"': [python, "-c", "import requests"],
            "dify-job --version": [dify_job, "--version"],
            "dify-job run, streaming": [dify_job, "run", "--config", str(config)],
            "dify-job run, blocking": [dify_job, "run", "--config", str(config), "--mode", "blocking"],
        }
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                figures[name].append(once(command, env))
    base = [cpu for cpu, _ in figures['python -c "import requests"']]
    lines = [
        "# Whole-process figures",
        "",
        f"CPython {platform.python_version()}, {ROUNDS} interleaved rounds, medians; server: the stand-in.",
        "",
        "| command | CPU ms | x `import requests` (min-max) | peak MiB |",
        "|---|---|---|---|",
    ]
    for name, rounds in figures.items():
        ratios = [cpu / other for (cpu, _), other in zip(rounds, base, strict=True)]
        cpu = statistics.median(cpu for cpu, _ in rounds)
        peak = statistics.median(peak for _, peak in rounds)
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        lines.append(f"| `{name}` | {cpu * 1000:.0f} | {ratio} | {peak:.1f} |")
    text = "\n".join(lines) + "\n"
    Path(__file__).with_name("RESULTS.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
