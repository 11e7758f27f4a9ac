"""Generate the manual pages from the commands, the table of exit codes and the settings table.

`make contract` writes docs/man/; a test compares it with the generated pages.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from dify_job import __version__
from dify_job.cli.exit_codes import RETRY_TEXTS
from dify_job.cli.help import EXAMPLES
from dify_job.cli.main import cli
from dify_job.config.schema import SETTINGS
from dify_job.exit_codes import TABLE, RetrySafety

KEYS = {setting.name: setting for setting in SETTINGS}
_GLOBALS = {"config_path", "env_file", "log_level", "log_format", "quiet", "verbose", "help"}

_FILES = (
    (
        "/etc/dify-job/config.toml",
        "The system configuration; `config.d/*.toml` in the same directory is merged into it.",
    ),
    ("~/.config/dify-job/config.toml", "The user's configuration; it replaces the system configuration."),
    ("/etc/dify-job/credentials/", "Keys of system jobs; the directory has mode 0700."),
    ("/etc/credstore.encrypted/dify-job.JOB.api_key", "A key that `secret set --encrypt` stored."),
    (
        "/etc/systemd/system/dify-job-JOB.service, dify-job-JOB.timer",
        "System units that `install` writes as root.",
    ),
    ("~/.config/systemd/user/", "Units that `install` writes for a user."),
    (
        "/etc/cron.d/dify-job-JOB",
        "System jobs under cron. Jobs of a user, or of root under busybox, are marked blocks in the crontab.",
    ),
    (
        "/var/lib/dify-job/JOB, ~/.local/state/dify-job/JOB",
        "State of a job: lock, last result, history, in-flight record.",
    ),
)
_ENVIRONMENT = (
    (
        (
            "DIFY_API_KEY, DIFY_BASE_URL, DIFY_INPUTS, DIFY_END_USER, SCHEDULER_INTERVAL_HOURS, "
            "AUTO_START_SCHEDULER"
        ),
        "Settings of the job `default`, if there is no configuration file.",
    ),
    ("DIFY_JOB_CONFIG", "The configuration file, if `--config` names none."),
    (
        "CREDENTIALS_DIRECTORY",
        "A directory with the API key, set by systemd. It overrides every other source.",
    ),
    ("DEBUG_INVOCATION", "If it is 1, dify-job logs like with `--log-level debug`. See systemd.exec(5)."),
    ("NO_COLOR", "If it is set, dify-job prints no colours."),
    (
        "HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, SSL_CERT_FILE",
        "Proxy and certificates, as in programs that use requests or OpenSSL.",
    ),
    (
        "DIFY_JOB_RUN_ID, DIFY_JOB_LOST",
        "Values of `run --run-id` and `--lost`, as Kubernetes manifests set them.",
    ),
    (
        "LANGUAGE, LC_ALL, LC_MESSAGES, LANG",
        "The language of messages: Chinese in a Chinese locale, else English.",
    ),
)


def dify_job_1() -> str:
    """dify-job(1)."""
    lines = [*_head("dify-job", 1, "run Dify workflows on the system's own scheduler"), ".SH SYNOPSIS"]
    lines += [".B dify-job", ".RI [ options ]", ".I command", ".RI [ arguments ]", ".SH DESCRIPTION"]
    lines += [line for paragraph in _paragraphs(cli) for line in (paragraph, ".PP")]
    lines += ["The operating system does the scheduling. Control the jobs with", ".BR systemctl (1),"]
    lines += [
        ".BR journalctl (1)",
        "and",
        ".BR crontab (1);",
        "dify-job adds commands where these are not enough.",
    ]
    lines += [
        ".SH OPTIONS",
        "Every command takes these options, before or after its name;",
        r"\-\-version only before it.",
    ]
    lines += [line for option in cli.params for line in _option(option)]
    lines += [".SH COMMANDS"]
    context = click.Context(cli, info_name="dify-job")
    for path, command in _commands(cli, context, ()):
        lines += _command(path, command, context)
    lines += [".SH EXIT STATUS", "Exit statuses of", '.BR "dify-job run" :']
    for row in TABLE:
        retry = "" if row.retry is RetrySafety.NOT_NEEDED else f" Retry: {RETRY_TEXTS[row.retry]}."
        lines += [".TP", rf"\fB{row.code}\fR {_text(row.outcome)}", _text(f"{row.when}.{retry}")]
    lines += [".SH FILES", *_entries(_FILES), ".SH ENVIRONMENT", *_entries(_ENVIRONMENT), ".SH SEE ALSO"]
    lines += [".BR dify-job.toml (5),", ".BR systemd.timer (5),", ".BR systemd.time (7),"]
    lines += [".BR journalctl (1),", ".BR crontab (5)"]
    return _page(lines)


def dify_job_toml_5() -> str:
    """dify-job.toml(5)."""
    lines = _head("dify-job.toml", 5, "configuration of dify-job")
    lines += [".SH SYNOPSIS", "/etc/dify-job/config.toml", ".br", "~/.config/dify-job/config.toml"]
    lines += [".SH DESCRIPTION"]
    lines += [
        _text(
            "A TOML file with a table `[defaults]` and a table `[jobs.NAME]` for each job. The name of a job "
            "has at most 48 characters of a-z, 0-9, - and _. Flags override the job, and the job overrides "
            "`[defaults]`. The files `config.d/*.toml` in the same directory are merged in lexical order; a "
            "key of a later file replaces that of an earlier one. `dify-job config show` shows the origin of "
            "each value, `dify-job config validate` reports every error."
        ),
        ".PP",
        _text(
            "Time spans have the syntax of systemd.time(7); each number needs a unit: `90s`, `30min`, "
            "`1h 30min`."
        ),
        ".SH KEYS",
    ]
    for setting in SETTINGS:
        name, form = _text(setting.name), _text(setting.form)
        lines += [".TP", rf"\fB{name}\fR = {form}", _text(setting.text)]
    lines += [".SH EXAMPLE", ".nf", ".RS"]
    lines += [_verbatim(line) for line in _example()]
    lines += [".RE", ".fi", ".SH SEE ALSO", ".BR dify-job (1)"]
    return _page(lines)


def _example() -> list[str]:
    readme = Path(__file__).parents[1] / "README.md"
    [block] = re.findall(r"```toml\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)[:1]
    return block.splitlines()


def _commands(
    group: click.Group, context: click.Context, above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from _commands(command, context, (*above, name))
        else:
            yield (*above, name), command


def _command(path: tuple[str, ...], command: click.Command, context: click.Context) -> list[str]:
    arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
    title = " ".join(["dify-job", *path])
    lines = [f".SS {_text(' '.join([title, *arguments]))}"]
    lines += [line for paragraph in _paragraphs(command) for line in (paragraph, ".PP")]
    own = [p for p in command.params if isinstance(p, click.Option) and p.name not in _GLOBALS]
    lines = lines[:-1] + [line for option in own for line in _option(option)]
    examples = [(example, str(meaning)) for example, meaning in EXAMPLES.get(" ".join(path), ())]
    lines += [".PP", "Examples:"] if examples else []
    return lines + [line for one in examples for line in (".TP", rf"\fB{_text(one[0])}\fR", _text(one[1]))]


def _paragraphs(command: click.Command) -> list[str]:
    return [_text(" ".join(paragraph.split())) for paragraph in (command.help or "").split("\n\n")]


def _option(option: click.Parameter) -> list[str]:
    if not isinstance(option, click.Option) or option.hidden:
        return []
    record = option.get_help_record(click.Context(cli))
    if record is None:
        return []
    return [".TP", rf"\fB{_text(record[0])}\fR", _text(record[1])]


def _entries(entries: tuple[tuple[str, str], ...]) -> list[str]:
    return [line for name, text in entries for line in (".TP", _text(name), _text(text))]


def _head(name: str, section: int, summary: str) -> list[str]:
    title = name.upper()
    return [
        f'.TH "{_text(title)}" {section} "" "dify-job {__version__}" ""',
        ".SH NAME",
        rf"{_text(name)} \- {_text(summary)}",
    ]


def _page(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    r"""Convert text to roff: `code` in bold, other characters escaped."""
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _verbatim(text))


def _verbatim(line: str) -> str:
    line = line.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")
    line = line.replace("…", r"\&...")
    return rf"\&{line}" if line.startswith((".", "'")) else line


PAGES = {"dify-job.1": dify_job_1, "dify-job.toml.5": dify_job_toml_5}
