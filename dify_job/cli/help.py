"""Help pages in the reader's language, their examples, and hints for commands known from other tools."""

import re
from collections.abc import Iterable, Iterator, Sequence

import click

from ..messages.command import Command, command
from ..messages.i18n import translate, translate_constant
from ..messages.message import join, msg
from ..report.text import columns_of, hanging, wrapped
from ..schedulers import systemctl

_CLICK_SUFFIX = re.compile(r"(?s)(.*?)((?:  \[[^\[]*\])?)")  # click's suffix: `  [default: 5; x>=1]`


def formatter_of(context: click.Context) -> "Formatter":
    """Return the formatter of a command's help page, and add examples to the command.

    Args:
        context: The command's context.
    """
    formatter = Formatter(width=context.terminal_width, max_width=context.max_content_width)
    _, _, path = context.command_path.partition(" ")
    context.command.epilog = examples_text(path, formatter.width)
    return formatter


class Formatter(click.HelpFormatter):
    """click's formatter, which translates each text before it formats it."""

    def write_heading(self, heading: str) -> None:
        """Write a heading.

        Args:
            heading: In English.
        """
        super().write_heading(translate_constant(heading))

    def write_text(self, text: str) -> None:
        """Write paragraphs.

        Args:
            text: English; an empty line separates paragraphs, and a backspace starts a preformatted one.
        """
        indent = " " * self.current_indent
        for number, paragraph in enumerate(text.split("\n\n")):
            if paragraph.startswith("\b\n"):  # preformatted
                lines = paragraph.split("\n")[1:]
            else:
                whole = translate_constant(" ".join(paragraph.split()))
                lines = wrapped(whole, self.width - self.current_indent)
            self.write("\n" * bool(number) + "".join(f"{indent}{line}\n" for line in lines))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write a list of names and their meanings.

        Args:
            rows: Name and meaning, in English.
            col_max: The largest width of a name that shares a line with its meaning, in columns.
            col_spacing: Columns between name and meaning.
        """
        rows = list(rows)
        longest = min(max(columns_of(first) for first, _ in rows), col_max)
        column = self.current_indent + longest + col_spacing
        for first, second in rows:
            head = " " * self.current_indent + first
            if len(first) > longest:
                self.write(head + "\n")
                head = ""
            self.write("\n".join(hanging(head, _translated(second), column, self.width)) + "\n")


def _translated(text: str) -> str:
    found = _CLICK_SUFFIX.fullmatch(text)
    return translate_constant(found[1]) + found[2] if found is not None else translate_constant(text)


EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("dify-job demo", msg("Try a run without a server or API key.")),
        ("dify-job init daily", msg("Configure a job.")),
        ("dify-job status", msg("Show what failed and what runs next.")),
    ),
    "run": (
        ("dify-job run daily", msg("Run the job now.")),
        ("dify-job run daily -i topic=sales", msg("Run the job with another input.")),
        ("dify-job run daily --print outputs.result", msg("Print one output.")),
    ),
    "demo": (
        ("dify-job demo", msg("Run a workflow on the built-in server.")),
        ("dify-job demo --serve 8080", msg("Leave the server running.")),
    ),
    "stop": (
        ("sudo dify-job stop daily", msg("Stop the job's run, also in Dify.")),
        ("dify-job stop --user daily weekly", msg("Stop two of your own jobs.")),
    ),
    "install": (
        ("sudo dify-job install daily --every 2h", msg("Run the job every two hours.")),
        ("sudo dify-job install", msg("Install all jobs as configured.")),
        ("dify-job install --user --dry-run", msg("Show the files without installing.")),
    ),
    "uninstall": (
        ("sudo dify-job uninstall daily", msg("Remove the job's units, but not its history.")),
        ("sudo dify-job uninstall --all --purge", msg("Remove all jobs and their history.")),
    ),
    "pause": (
        ("sudo dify-job pause daily", msg("Stop the schedule until you resume the job.")),
        ("sudo dify-job pause --all", msg("Include all system jobs.")),
    ),
    "resume": (
        ("sudo dify-job resume daily", msg("Enable the schedule again.")),
        ("sudo dify-job resume --all", msg("Include all system jobs.")),
    ),
    "render": (
        ("dify-job render --target systemd daily", msg("Print the units of a job.")),
        ("dify-job render --target kubernetes", msg("Print the Kubernetes manifests of all jobs.")),
    ),
    "http": (
        ("sudo dify-job install --http", msg("Install the HTTP interface.")),
        (
            "curl http://127.0.0.1:8000/api/dify/scheduler/status",
            msg("Send a request to the HTTP interface."),
        ),
    ),
    "status": (
        ("dify-job status", msg("Show all jobs, problems first.")),
        ("dify-job status daily --json", msg("Print one job as JSON.")),
        ("dify-job status --watch", msg("Refresh until Ctrl-C.")),
    ),
    "history": (
        ("dify-job history --failed --since yesterday", msg("Show failed runs and the reasons.")),
        ("dify-job history daily -n 50", msg("Show the last 50 runs of a job.")),
        ("dify-job history daily --since 2h --json", msg("Print JSON.")),
    ),
    "logs": (
        ("dify-job logs daily --since today", msg("Show the log of a job.")),
        ("dify-job logs --failed --since 2h", msg("Show errors of all jobs.")),
        ("dify-job logs daily -- -o json", msg("Pass an option to journalctl.")),
    ),
    "next": (
        ("dify-job next", msg("Show the next runs of all jobs.")),
        ("dify-job next daily -n 30", msg("Show the next 30 runs of a job.")),
    ),
    "report": (
        ("dify-job report --output report.html", msg("Write an HTML page about all jobs.")),
        ("dify-job report daily --days 7 > daily.html", msg("Show one job and one week.")),
    ),
    "doctor": (
        ("dify-job doctor", msg("Check all jobs.")),
        ("dify-job doctor daily --json", msg("Print one job as JSON.")),
    ),
    "exit-codes": (
        ("dify-job exit-codes", msg("Show what each exit code means.")),
        ("dify-job exit-codes --json", msg("Print JSON.")),
    ),
    "init": (
        ("dify-job init daily", msg("Ask for the server address, API key and inputs.")),
        ("sudo dify-job init daily --system", msg("Create a system job.")),
    ),
    "secret": (
        ("dify-job secret set daily", msg("Type the new API key at a prompt.")),
        ("dify-job secret set daily --key-file key", msg("Read the API key from a file.")),
    ),
    "secret set": (
        ("dify-job secret set daily", msg("Type the API key at a prompt.")),
        ("dify-job secret set daily --key-file key", msg("Read the API key from a file.")),
    ),
    "config": (
        ("dify-job config show daily", msg("Show each value and its source.")),
        ("dify-job config validate", msg("Show all errors of the configuration.")),
    ),
    "config show": (
        ("dify-job config show", msg("Show all jobs.")),
        ("dify-job config show daily --json", msg("Print one job as JSON.")),
    ),
    "config validate": (
        ("dify-job config validate", msg("Check the configuration of all jobs.")),
        ("dify-job --config new.toml config validate", msg("Check another configuration file.")),
    ),
    "notify": (
        ("dify-job notify daily", msg("Send a test message.")),
        ("sudo dify-job notify daily", msg("Test the notification addresses of a system job.")),
    ),
}


def examples_text(path: str, width: int) -> str:
    """Return the examples of a help page.

    Args:
        path: The command, such as `config show`; empty for the whole program.
        width: Columns of a line.
    """
    # click does not wrap a paragraph that begins with \\b.
    examples = EXAMPLES.get(path, ())
    parts = ["\n".join(["\b", translate(msg("Examples:")), *_lines(examples, width)])] if examples else []
    if path:
        parts.append(translate(msg("For the options that every command takes, see: dify-job --help")))
    return "\n\n".join(parts)


def _lines(examples: tuple[tuple[str, str], ...], width: int) -> Iterator[str]:
    begin = max(columns_of(example) for example, _ in examples) + 4
    for example, meaning in examples:
        yield from hanging(f"  {example}", translate(meaning), begin, width - 2)


_SYNONYMS = {
    "ls": "list", "jobs": "list", "rm": "remove", "delete": "remove", "kill": "cancel", "abort": "cancel"
}  # fmt: skip


def hint_for_unknown(words: Sequence[str]) -> str | None:
    """Return a hint for a command that does not exist.

    Args:
        words: The mistaken command and its arguments.
    """
    jobs = [word for word in words[1:] if not word.startswith("-")] or ["JOB"]
    by_systemd = ("systemctl", "start", f"dify-job-{jobs[0]}.service")
    start = command(*(by_systemd if systemctl.is_booted() else ("dify-job", "run", jobs[0])))
    hints = {
        "list": command("dify-job", "status"),
        "start": msg(
            "To run the job once now, run: {run}; to enable its schedule, run: {resume}",
            run=start,
            resume=command("dify-job", "resume", *jobs),
        ),
        "restart": msg(
            "To stop the job and start it again, run: {commands}",
            commands=join(" && ", (command("dify-job", "stop", *jobs), start)),
        ),
        "cancel": command("dify-job", "stop", *jobs),
        "enable": command("dify-job", "resume", *jobs),
        "disable": command("dify-job", "pause", *jobs),
        "remove": command("dify-job", "uninstall", *jobs),
        "show": command("dify-job", "config", "show", *jobs[:1]),
        "edit": msg(
            "To see which file to edit, run: {show}; after the edit, run: {install}",
            show=command("dify-job", "config", "show", *jobs[:1]),
            install=command("dify-job", "install", *jobs),
        ),
    }
    hint = hints.get(_SYNONYMS.get(words[0], words[0]))
    return msg("Use: {command}", command=hint) if isinstance(hint, Command) else hint
