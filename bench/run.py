"""`make bench`: cost of dify-job and of other clients, as whole processes that alternate (A B C A B C ...).

Nothing is asserted. Ratios are computed per round, so that a slow machine affects both sides.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).parent
BIN = BENCH / ".venv/bin"
APART = BENCH / ".venv/dify-client-python"
PYTHON, DIFY_JOB = str(BIN / "python"), str(BIN / "dify-job")
SMALL = [PYTHON, "-I", "-S"]
KEY = "app-bench-0123456789"
RUN = (20, 300, "chunks")
LONG = (100_000, 1000)
CURL = (
    "curl is a lower bound, not an alternative: it exits with 0 for any outcome of the workflow, and has "
    "neither lock nor history."
)
BURST = (
    "A hundred processes that share the processors each take more CPU time than one alone. The second row "
    "shows this effect for the interpreter and one library, without dify-job."
)
SLOWEST = 40.0  # seconds of CPU time; slower commands are left out


@dataclass(frozen=True)
class Figure:
    """Cost of one process.

    Attributes:
        cpu: CPU time in seconds.
        peak: Peak memory in MiB.
        wall: Wall time in seconds.
    """

    cpu: float
    peak: float
    wall: float


Figures = Mapping[str, Sequence[Figure]]


class Bench:
    """A server, and the home and environment of all measured processes."""

    def __init__(self, port: int, home: Path) -> None:
        self.port = port
        self.home = home
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "K": KEY}
        self.env["XDG_STATE_HOME"] = str(home / "s")
        self.missing: list[str] = []

    def url(self, events: int, size: int, framing: str) -> str:
        return f"http://127.0.0.1:{self.port}/{events}/{size}/{framing}/v1"

    def job(self, events: int, size: int, framing: str, *words: str) -> list[str]:
        """Return the command line of a `dify-job run` with lock, state and result."""
        config = self.home / f"{events}-{size}-{framing}.toml"
        if not config.exists():
            job = f'[jobs.a]\nbase_url = "{self.url(events, size, framing)}"\napi_key_env = "K"\n'
            config.write_text(job)
        return [DIFY_JOB, "run", "--config", str(config), *words]

    def peer(self, name: str, mode: str, events: int, size: int, framing: str) -> list[str]:
        return [PYTHON, str(BENCH / "peers.py"), name, self.url(events, size, framing), mode]

    def curl(self, mode: str, events: int, size: int, framing: str) -> list[str]:
        body = json.dumps({"inputs": {}, "response_mode": mode, "user": "bench"})
        words = ["-sN", "-o", "/dev/null", "-H", f"Authorization: Bearer {KEY}", "-d", body]
        return [shutil.which("curl") or "curl", *words, self.url(events, size, framing) + "/workflows/run"]

    def measure(self, copies: int, command: Sequence[str]) -> tuple[list[Figure], list[int]]:
        """Start `copies` processes of a command at once; return their costs and exit statuses."""
        measure = [*SMALL, str(BENCH / "measure.py"), str(copies), *command]
        done = subprocess.run(
            measure, env=self.env, cwd=self.home, capture_output=True, text=True, check=True
        )
        *lines, wall = done.stdout.splitlines()
        rows = [line.split() for line in lines]
        return [Figure(float(cpu), float(peak), float(wall)) for cpu, peak, _ in rows], [
            int(status) for _, _, status in rows
        ]

    def alternate(self, commands: Mapping[str, Sequence[str]], rounds: int) -> Figures:
        """Measure all commands in alternating rounds; leave out and report those that fail."""
        figures: dict[str, list[Figure]] = {}
        for name, command in commands.items():  # fills caches, and checks that the command works
            try:
                [figure], [status] = self.measure(1, command)
            except subprocess.CalledProcessError:
                status = 127
            if status != 0:
                self.missing.append(f"{name} (status {status})")
            elif figure.cpu < SLOWEST:
                figures[name] = []
        for _ in range(rounds):
            for name in figures:
                figures[name] += self.measure(1, commands[name])[0]
        return figures


def table(figures: Figures, base: str, of: str = "") -> str:
    """Return a table of medians, with ratio and spread of CPU time to `base` per round."""
    lines = [
        f"| {of or 'command'} | CPU ms | x {base} (min-max) | wall ms | peak MiB |",
        "|---|---|---|---|---|",
    ]
    for name, taken in figures.items():
        ratios = [one.cpu / other.cpu for one, other in zip(taken, figures[base], strict=True)]
        cpu, wall = (
            statistics.median(getattr(one, what) for one in taken) * 1000 for what in ("cpu", "wall")
        )
        peak = statistics.median(one.peak for one in taken)
        spread = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})"
        lines.append(f"| {name} | {cpu:.0f} | {spread} | {wall:.0f} | {peak:.1f} |")
    return "\n".join(lines)


def one_run(bench: Bench) -> str:
    commands = {
        "`import requests`": [PYTHON, "-c", "import requests"],
        "`python -c pass`": [PYTHON, "-c", "pass"],
    }
    for mode in ("blocking", "streaming"):
        commands[f"**dify-job run**, {mode}"] = bench.job(*RUN, "--mode", mode)
        commands[f"curl, {mode}"] = bench.curl(mode, *RUN)
        for name in ("requests", "dify-client", "dify-client-python", "dify-oapi2"):
            commands[f"{name}, {mode}"] = bench.peer(name, mode, *RUN)
    return f"{table(bench.alternate(commands, 15), '`import requests`', 'one run, 20 events')}\n\n{CURL}"


def other_commands(bench: Bench) -> str:
    config = bench.job(*RUN)[-1]
    commands = {
        "`import click`": [PYTHON, "-c", "import click"],
        "`dify-job --version`": [DIFY_JOB, "--version"],
        "`dify-job --help`": [DIFY_JOB, "--help"],
        "`dify-job run --help`": [DIFY_JOB, "run", "--help"],
        "a shell completes a job's name": [
            *["/usr/bin/env", "_DIFY_JOB_COMPLETE=bash_complete", "COMP_CWORD=2"],
            *[f"DIFY_JOB_CONFIG={config}", "COMP_WORDS=dify-job run ", DIFY_JOB],
        ],
    }
    return table(bench.alternate(commands, 15), "`import click`", "command")


def streams(bench: Bench) -> str:
    parts = []
    for framing in ("chunks", "blocks", "end"):
        commands = {
            "requests + sseclient-py": bench.peer("requests + sseclient-py", "streaming", *LONG, framing),
            "**dify-job run**": bench.job(*LONG, framing),
            "curl": bench.curl("streaming", *LONG, framing),
        }
        if framing == "chunks":
            for name in ("requests", "dify-client-python", "dify-oapi2"):
                commands[name] = bench.peer(name, "streaming", *LONG, framing)
        figures = bench.alternate(commands, 3)
        parts.append(table(figures, "requests + sseclient-py", f"100,000 events, {framing}"))
    return "\n\n".join(parts)


def memory(bench: Bench) -> str:
    sizes = {
        "20 events of 300 bytes": RUN,
        "100,000 events of 1 KB": (*LONG, "chunks"),
        "1,000,000 events of 1 KB": (1_000_000, 1000, "chunks"),
        "one chunk of text of 20 MB": (1, 20_000_000, "chunks"),
        "outputs of 20 MB": (0, 20_000_000, "chunks"),
        "outputs of 20 MB, blocking": (0, 20_000_000, "chunks", "--mode", "blocking"),
    }
    figures = bench.alternate({name: bench.job(*size) for name, size in sizes.items()}, 3)
    idle = statistics.median(one.peak for one in figures["20 events of 300 bytes"])
    lines = ["| dify-job run | CPU ms | peak MiB | above the first row |", "|---|---|---|---|"]
    for name, taken in figures.items():
        cpu, peak = (statistics.median(getattr(one, what) for one in taken) for what in ("cpu", "peak"))
        more = f"{peak - idle:+.1f} MiB"
        if "20 MB" in name:
            more += f", {(peak - idle) * 2**20 / 20e6:.2f} x 20 MB"
        lines.append(f"| {name} | {cpu * 1000:.0f} | {peak:.1f} | {more} |")
    return "\n".join(lines)


def lag(bench: Bench) -> str:
    """Measure the time between an event sent by the server and its line in the log."""
    lines = ["| an event every 25 ms | median ms | largest ms |", "|---|---|---|"]
    for framing, words in (("trickle", "chunked"), ("trickle-end", "to the end of the connection")):
        command = bench.job(60, 0, framing, "-v", "--log-format", "json")
        process = subprocess.Popen(command, env=bench.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        read = ((json.loads(line).get("node"), time.monotonic()) for line in process.stderr)
        lags = [(at - float(node)) * 1000 for node, at in read if node]
        process.wait()
        lines.append(f"| {words} | {statistics.median(lags):.2f} | {max(lags):.2f} |")
    return "\n".join(lines)


def burst(bench: Bench) -> str:
    """Compare a hundred simultaneous processes with the same hundred in sequence; every fourth run fails."""
    config = bench.home / "hundred.toml"
    good, bad = bench.url(*RUN), bench.url(20, 300, "failed")
    config.write_text(
        '[defaults]\napi_key_env = "K"\n'
        + "".join(f'[jobs.job-{n}]\nbase_url = "{good if n % 4 else bad}"\n' for n in range(100))
    )
    commands = {
        "**dify-job run**, 75 succeed, 25 fail": (
            [DIFY_JOB, "run", "--config", str(config), "job-{n}"],
            [0 if n % 4 else 80 for n in range(100)],
        ),
        "`import requests`": ([PYTHON, "-c", "import requests"], [0] * 100),
    }
    lines = [
        "| a hundred at once | x the CPU time of a hundred singly | wall s | each with its own exit status |",
        "|---|---|---|---|",
    ]
    for name, (command, expected) in commands.items():
        single = [bench.measure(1, [word.replace("{n}", str(n)) for word in command]) for n in range(100)]
        together, statuses = bench.measure(100, command)
        ratio = sum(one.cpu for one in together) / sum(one.cpu for [one], _ in single)
        true = statuses == [status for _, [status] in single] == expected
        lines.append(f"| {name} | **{ratio:.2f}** | {together[0].wall:.1f} | {'yes' if true else 'NO'} |")
    return "\n".join(lines) + f"\n\n{BURST}"


def scale(bench: Bench) -> str:
    lines = [
        "| user units, systemctl answered in place | CPU ms a job | wall ms a job | systemctl | written |",
        "|---|---|---|---|---|",
    ]
    for count in (100, 1000):
        done = subprocess.run(
            [PYTHON, str(BENCH / "scale.py"), str(count)],
            capture_output=True,
            text=True,
            check=True,
            env=bench.env,
        )
        for name, result in json.loads(done.stdout).items():
            calls = ", ".join(f"{verb.removeprefix('systemctl ')} {n}" for verb, n in result["calls"].items())
            files = [line for line in result["writes"] if line.startswith("os.rename")]
            lines.append(
                f"| {name} of {count:,} jobs | {result['cpu'] / count * 1000:.2f} | "
                f"{result['wall'] / count * 1000:.2f} | {calls} | {len(files)} files |"
            )
    return "\n".join(lines)


def versions() -> str:
    listed = pip("list", "--format=freeze").stdout.splitlines()
    wanted = (
        r"(dify-job|requests|urllib3|click|structlog|sseclient-py|httpx|pydantic|dify-client|dify-oapi2)=="
    )
    found = [line for line in listed if re.match(wanted, line)]
    found += [path.stem.replace("-", "==") for path in APART.glob("dify_client*.dist-info")]
    curl = ["no curl"]
    if shutil.which("curl"):
        done = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True)
        curl = done.stdout.split()[:2]
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return (
        f"CPython {platform.python_version()}, {os.cpu_count()} processors"
        f"{f' ({model[1]})' if model else ''}, Linux {platform.release()}, load {os.getloadavg()[0]:.1f} "
        f"when begun; {' '.join(curl)}; {', '.join(found)}."
    )


def pip(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [PYTHON, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, cwd=BENCH.parent, capture_output=True, text=True, check=False)


def prepare() -> None:
    """Create an environment with dify-job and the available clients, installed with pip."""
    subprocess.run([sys.executable, "-m", "venv", str(BENCH / ".venv")], check=True)
    shutil.rmtree(BENCH.parent / "build", ignore_errors=True)  # files of an older version would be packed too
    for words in (
        ["--force-reinstall", "--no-deps", "."],
        ["."],
        *([line] for line in (BENCH / "requirements.txt").read_text().splitlines() if line[0] != "#"),
        ["--no-deps", "--upgrade", "--target", str(APART), "dify-client-python"],
    ):
        done = pip("install", "-q", *words)
        if done.returncode != 0:
            print(f"not installed: {words[-1]}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)


@contextmanager
def served() -> Iterator[Bench]:
    server = subprocess.Popen([*SMALL, str(BENCH / "server.py")], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as home:
        try:
            yield Bench(int(server.stdout.readline()), Path(home))
        finally:
            server.kill()
            server.wait()


def main() -> None:
    prepare()
    parts = ["# What a run costs", __doc__.partition("\n\n")[2].strip(), versions()]
    began = time.monotonic()
    with served() as bench:
        for title, part in (
            ("One run", one_run),
            ("Other commands", other_commands),
            ("Long streams", streams),
            ("Memory", memory),
            ("Delay of an event", lag),
            ("A hundred at once", burst),
            ("A thousand jobs", scale),
        ):
            print(f"{time.monotonic() - began:4.0f} s  {title}", file=sys.stderr)
            parts += [f"## {title}", part(bench)]
        if bench.missing:
            parts.append(
                "Left out, because they failed or are not installed: " + ", ".join(bench.missing) + "."
            )
    text = "\n\n".join(parts) + "\n"
    (BENCH / "RESULTS.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
