"""Examples of each command, for its help page and the manual."""

from collections.abc import Iterator

from ..messages.i18n import translate
from ..messages.message import msg
from ..report.text import columns_of, padded, wrapped

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("dify-job demo", msg("See a run without a server and a key.")),
        ("dify-job init daily", msg("Configure a job.")),
        ("dify-job status", msg("See what failed and what runs next.")),
    ),
    "run": (
        ("dify-job run daily", msg("Run it now.")),
        ("dify-job run daily -i topic=sales", msg("With another input.")),
        ("dify-job run daily --print outputs.result", msg("Print one output.")),
    ),
    "demo": (
        ("dify-job demo", msg("Run a workflow against the built-in server.")),
        ("dify-job demo --serve 8080", msg("Leave the server running.")),
    ),
    "stop": (
        ("sudo dify-job stop daily", msg("Stop its run, in Dify too.")),
        ("dify-job stop --user daily weekly", msg("Stop runs of your own jobs.")),
    ),
    "install": (
        ("sudo dify-job install daily --every 2h", msg("Run it every two hours.")),
        ("sudo dify-job install", msg("All jobs, as configured.")),
        ("dify-job install --user --dry-run", msg("See the files first.")),
    ),
    "uninstall": (
        ("sudo dify-job uninstall daily", msg("Remove its units; keep its history.")),
        ("sudo dify-job uninstall --all --purge", msg("Remove everything.")),
    ),
    "pause": (
        ("sudo dify-job pause daily", msg("No run until it is resumed.")),
        ("sudo dify-job pause --all", msg("All jobs of the machine.")),
    ),
    "resume": (
        ("sudo dify-job resume daily", msg("It runs at its next time.")),
        ("sudo dify-job resume --all", msg("All jobs of the machine.")),
    ),
    "render": (
        ("dify-job render --target systemd daily", msg("Print its units.")),
        ("dify-job render --target kubernetes", msg("Print manifests of all jobs.")),
    ),
    "http": (
        ("sudo dify-job install --http", msg("Have systemd start it for each request.")),
        ("curl http://127.0.0.1:8000/api/dify/scheduler/status", msg("Ask it.")),
    ),
    "status": (
        ("dify-job status", msg("All jobs, the worst first.")),
        ("dify-job status daily --json", msg("One job, for a program.")),
        ("dify-job status --watch", msg("Renew it until Ctrl-C.")),
    ),
    "history": (
        ("dify-job history --failed --since yesterday", msg("What failed, and why.")),
        ("dify-job history daily -n 50", msg("The last 50 runs of a job.")),
        ("dify-job history daily --since 2h --json", msg("For a program.")),
    ),
    "logs": (
        ("dify-job logs daily --since today", msg("The log of a job.")),
        ("dify-job logs --failed --since 2h", msg("Errors of all jobs.")),
        ("dify-job logs daily -- -o json", msg("With an option of journalctl.")),
    ),
    "next": (
        ("dify-job next", msg("The next runs of all jobs.")),
        ("dify-job next daily -n 30", msg("The next 30 of a job.")),
    ),
    "report": (
        ("dify-job report --output report.html", msg("A page about all jobs.")),
        ("dify-job report daily --days 7 > daily.html", msg("One job, one week.")),
    ),
    "doctor": (
        ("dify-job doctor", msg("Check all jobs.")),
        ("dify-job doctor daily --json", msg("One job, for a program.")),
    ),
    "exit-codes": (
        ("dify-job exit-codes", msg("What each code means.")),
        ("dify-job exit-codes --json", msg("For a program.")),
    ),
    "init": (
        ("dify-job init daily", msg("Ask for address, key and inputs.")),
        ("sudo dify-job init daily --system", msg("For the machine.")),
    ),
    "secret": (
        ("dify-job secret set daily", msg("Ask for a new key.")),
        ("dify-job secret set daily --key-file key", msg("Take it from a file.")),
    ),
    "secret set": (
        ("dify-job secret set daily", msg("Ask for the key.")),
        ("dify-job secret set daily --key-file key", msg("Take it from a file.")),
    ),
    "config": (
        ("dify-job config show daily", msg("Each value and its source.")),
        ("dify-job config validate", msg("Find every mistake.")),
    ),
    "config show": (
        ("dify-job config show", msg("All jobs.")),
        ("dify-job config show daily --json", msg("One job, for a program.")),
    ),
    "config validate": (
        ("dify-job config validate", msg("Check the configuration that runs use.")),
        ("dify-job --config new.toml config validate", msg("Check another file.")),
    ),
    "notify": (
        ("dify-job notify daily", msg("Send a test message.")),
        ("sudo dify-job notify daily", msg("To the addresses of a system job.")),
    ),
}


def examples_text(path: str, width: int) -> str:
    """Return what a help page says below its options.

    Args:
        path: The command, such as `config show`; empty for the whole program.
        width: Columns of a line.

    """
    # click leaves a paragraph alone that begins with \\b.
    examples = EXAMPLES.get(path, ())
    parts = ["\n".join(["\b", translate(msg("Examples:")), *_lines(examples, width)])] if examples else []
    if path:
        parts.append(translate(msg("Options that every command takes: dify-job --help")))
    return "\n\n".join(parts)


def _lines(examples: tuple[tuple[str, str], ...], width: int) -> Iterator[str]:
    begin = max(columns_of(example) for example, _ in examples) + 4
    for example, meaning in examples:
        head = padded(f"  {example}", begin)
        for line in wrapped(translate(meaning), max(width - begin - 2, 20)):
            yield head + line
            head = " " * begin
