"""The settings of a job: one row for each key of the configuration.

Loader, `config show`, manual, TOML writer and the fingerprint of installed files are made from this table.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..system.timespan import positive_timespan, timespan, timespan_text
from . import readers, toml_writer
from .model import Job, Metrics, Notify, Output, RetryPolicy, ScheduleConfig

SCHEDULE_KINDS = ("every", "calendar", "cron")
KEY_KINDS = ("api_key_file", "api_key_credential", "api_key_env")


def _same(value: Any) -> Any:
    return value


class Setting(NamedTuple):
    """One key of the configuration.

    Attributes:
        name: The key.
        read: Makes the value of what a config file or a flag says. Raises ValueError.
        form: What the manual calls the value.
        text: What the manual says of it; `code` in backquotes.
        write: Makes of the value what a config file says.
        installed: The part of an installed file's fingerprint that the value is in; empty where the value
            reaches no installed file, so that a change needs no `install`.
        in_pod: The value goes into the configuration of a Kubernetes job. Otherwise the manifest or the
            cluster says it.
    """

    name: str
    read: readers.Reader
    form: str
    text: str
    write: Callable[[Any], Any] = _same
    installed: str = ""
    in_pod: bool = True

    def value(self, job: Job) -> Any:
        """Return the value that a job has."""
        if self.name in KEY_KINDS:
            kinds = (job.key.file, job.key.encrypted, job.key.env)
            return dict(zip(KEY_KINDS, kinds, strict=True))[self.name]
        return getattr(job.schedule if self.name in ScheduleConfig.__annotations__ else job, self.name)


SETTINGS = (
    Setting(
        "base_url",
        readers.base_url,
        "address",
        ("Dify's address, with or without `/v1` and a trailing slash. Default `http://localhost/v1`."),
        in_pod=False,
    ),
    Setting(
        "api_key_file",
        readers.path,
        "path",
        (
            "The file that holds the app's key, alone: a regular file, yours or root's, that others "
            "cannot read, in a directory that others cannot write. A relative path counts from the "
            "config's directory. What stands in `$CREDENTIALS_DIRECTORY` wins over it."
        ),
        installed="key",
        in_pod=False,
    ),
    Setting(
        "api_key_credential",
        readers.path,
        "path",
        (
            "The key encrypted by systemd-creds(1), as `dify-job secret set JOB --encrypt` writes it, "
            "instead of a plain file. systemd (250 or newer) decrypts it for a system unit; by hand "
            "only root can."
        ),
        installed="key",
        in_pod=False,
    ),
    Setting(
        "api_key_env",
        readers.variable,
        "name",
        (
            "The environment variable that holds the key, instead of a file. No timer sees the "
            "variables of a shell: `install` stores the key in a file."
        ),
        in_pod=False,
    ),
    Setting(
        "mode",
        readers.choice("streaming", "blocking"),
        "`streaming` or `blocking`",
        (
            "How the server answers. Only a streamed run names its task before its end, so only that "
            "can be stopped. Default `streaming`."
        ),
    ),
    Setting(
        "workflow_id",
        readers.line,
        "id",
        "A published version of the workflow, instead of the newest one.",
    ),
    Setting(
        "end_user",
        readers.user,
        "text",
        (
            "The end user that Dify files the run under. By default one is made for each run, so that "
            "a run can be found again when the connection broke; with a fixed one it cannot."
        ),
    ),
    Setting(
        "timeout",
        positive_timespan,
        "time span",
        (
            "Deadline of the whole run, from the start of the process: waiting, retries and recovery "
            "count, jitter does not. When it passes, the run is stopped on the server. Default "
            "`30min`."
        ),
        write=timespan_text,
        installed="timeout",
    ),
    Setting(
        "connect_timeout",
        positive_timespan,
        "time span",
        "For the connection to each address of the server. Default `10s`.",
        write=timespan_text,
    ),
    Setting(
        "idle_timeout",
        positive_timespan,
        "time span",
        (
            "How long not a byte may come before the stream is given up and the run is looked for on "
            "the server; pings count as bytes. Default `5min 30s`."
        ),
        write=timespan_text,
    ),
    Setting(
        "wait_network",
        timespan,
        "time span",
        (
            "How long the server may be unreachable before the first request. Default `60s` for "
            "scheduled runs, 0 by hand."
        ),
        write=timespan_text,
    ),
    Setting(
        "queue_time",
        timespan,
        "time span",
        (
            "How long after its deadline a run whose end is not known may still wait in Dify's queue, "
            "or go on: so long no other run of the job is started, unless its record shows that it "
            "has ended. Default `20min`."
        ),
        write=timespan_text,
    ),
    Setting(
        "ca_file",
        readers.path,
        "path",
        (
            "Certificates to trust instead of the usual ones; a relative path counts from the config's "
            "directory. TLS is always verified."
        ),
        installed="ca_file",
    ),
    Setting(
        "inputs",
        readers.table,
        "table",
        (
            "The inputs of the workflow. A text with `{{ }}` is a Jinja template; it can use `now`, "
            "`today`, `last_success` (when the last good run began, or none), `timedelta`, `job`, "
            '`hostname` and `env("NAME")` for the variables that `env` names. The app is asked for '
            "its input form only where a job has `files`, or an input is a table or a list, a text "
            "that reads as one in JSON, or `true` or `false` as a text; all else Dify itself reads as "
            "its form says."
        ),
    ),
    Setting(
        "files",
        readers.files,
        "table",
        (
            "Inputs that are files: a path or an http(s) address, or a list of them, for each input; "
            "each can be a template. A relative path counts from the config's directory. Local files "
            "are checked before any call and uploaded when it is the run's turn; addresses are "
            "fetched by Dify itself. An empty text is no file."
        ),
        installed="files",
    ),
    Setting(
        "headers",
        readers.headers,
        "table",
        (
            "Extra request headers, for gateways in front of Dify: a value that everybody may know, "
            'or `{ file = "/path" }` for one that is secret (a private file, as for the key). They '
            "are sent to the server of `base_url` alone, and shown nowhere."
        ),
        write=toml_writer.written_headers,
        installed="headers",
    ),
    Setting(
        "env",
        readers.names_of_variables,
        "list of names",
        (
            'The environment variables that templates may read with `env("NAME")`, or `env("NAME", '
            '"default")`.'
        ),
    ),
    Setting(
        "overlap",
        readers.choice("fail", "skip", "wait"),
        "`fail`, `skip` or `wait`",
        (
            "What to do while another run of the job is under way: leave with 75, leave with 0, or "
            "wait for it until the deadline. Default `fail`."
        ),
    ),
    Setting(
        "partial",
        readers.choice("failure", "success"),
        "`failure` or `success`",
        (
            "What `partial-succeeded` is: a node failed and its fail branch or default value took "
            "over. Default `failure`."
        ),
    ),
    Setting(
        "retry",
        readers.structure(RetryPolicy, attempts=readers.attempts, max_wait=timespan),
        "table",
        (
            "`attempts` counts requests, the first included (default 3); `max_wait` bounds the sum of "
            "the pauses (default `2min`). Only requests that provably did not start a run are retried. A "
            "server that is busy is asked until `max_wait` is used up, unless `attempts` is 1."
        ),
        write=toml_writer.written_table,
    ),
    Setting(
        "output",
        readers.structure(
            Output,
            file=readers.line,
            select=readers.run_path,
            format=readers.choice("text", "json"),
            mode=readers.mode,
            downloads=readers.downloads,
            download_hosts=readers.host_names,
        ),
        "table",
        (
            "`file` is where the result of a successful run goes, and can be a template; a relative "
            "one stands in the state directory. `select` takes one value, such as `outputs.result`; "
            "`format` is `text` (a text as it is) or `json`; `mode` is that of the files written, "
            'such as `"0640"`. `downloads = true` fetches the files that the workflow returned into '
            'the same directory, or `{ max_files = 20, max_size = "100MB" }` with other limits. They come '
            "from public addresses and from the server's own host; hosts of a private network only where the "
            "server is on one, or where `download_hosts` names them. A file that no earlier run of the job "
            "made is never written over."
        ),
        write=toml_writer.written_table,
        installed="output",
    ),
    Setting(
        "expect",
        readers.expect,
        "table",
        (
            "What must hold for a run to be a success, by path, else the exit status is 84: "
            '`"outputs.result" = "nonempty"` (or `"present"`), or a table with `equals`, `regex` '
            "(found anywhere in the text, within 5 s) and `type` (of JSON; several with `|`)."
        ),
        write=toml_writer.written_expectations,
    ),
    Setting(
        "notify",
        readers.structure(
            Notify,
            healthchecks=readers.web_address,
            on_failure=readers.url_files,
            on_success=readers.url_files,
            on_recovery=readers.url_files,
        ),
        "table",
        (
            "Whom to tell: `healthchecks` is an address to ping; `on_failure`, `on_success` and "
            "`on_recovery` name apprise targets, from a file: `apprise-url-from-file:PATH`."
        ),
        write=toml_writer.written_table,
        installed="notify",
    ),
    Setting(
        "metrics",
        readers.structure(Metrics, textfile=readers.prometheus_file),
        "table",
        (
            "Where to leave figures of the last run: `textfile` is a path that ends in `.prom`, in "
            "the directory of the textfile collector of Prometheus's node_exporter."
        ),
        write=toml_writer.written_table,
        installed="metrics",
    ),
    Setting(
        "console_url",
        readers.web_address,
        "address",
        "The app's page in the Dify console, for `dify-job history` and for messages.",
    ),
    Setting(
        "state",
        readers.choice("disk", "none"),
        "`disk` or `none`",
        (
            "`none` keeps neither lock nor history nor in-flight record: for containers without a "
            "disk. Default `disk`."
        ),
        in_pod=False,
    ),
    Setting(
        "log_outputs",
        readers.size,
        "size",
        'How much of the outputs to log, such as `"2kB"`. Default none.',
    ),
    Setting(
        "log_file",
        readers.absolute_path,
        "path",
        (
            "Where cron's runs log on a machine that has neither journald nor syslog; cut at 1 MB, "
            "the one before kept as `FILE.1`. `dify-job logs` shows it."
        ),
        in_pod=False,
    ),
    Setting(
        "run_as",
        readers.user_name,
        "user",
        (
            "The user of system units and of lines in `/etc/cron.d`. Default: a dynamic user under "
            "systemd, root under cron."
        ),
        installed="run_as",
        in_pod=False,
    ),
    Setting(
        "description",
        readers.description,
        "text",
        "A title for people; the job's name is for machines.",
        installed="description",
    ),
    Setting(
        "every",
        positive_timespan,
        "time span",
        ("Run each `2h`, `30min`, `1d`. One that does not divide a day ticks more often and runs when due."),
        write=timespan_text,
        installed="schedule",
        in_pod=False,
    ),
    Setting(
        "calendar",
        readers.strings,
        "expression or list",
        "Run at calendar times as of systemd.time(7): `Mon..Fri 07:30`.",
        installed="schedule",
        in_pod=False,
    ),
    Setting(
        "cron",
        readers.line,
        "five fields",
        "Run at the times of a crontab line: `30 7 * * 1-5`.",
        installed="schedule",
        in_pod=False,
    ),
    Setting(
        "timezone",
        readers.timezone,
        "zone",
        "The zone of `calendar` and `cron`, such as `Asia/Shanghai`. Default: the machine's.",
        installed="schedule",
        in_pod=False,
    ),
    Setting(
        "jitter",
        timespan,
        "time span",
        "Start up to that much later, the same each time for a job on a host. Default 0.",
        write=timespan_text,
        installed="schedule",
        in_pod=False,
    ),
    Setting(
        "catch_up",
        readers.boolean,
        "`true` or `false`",
        (
            "Run once after boot if a scheduled run was missed while the machine was off. "
            "This run is billed like any other. "
            "Default `false`."
        ),
        installed="schedule",
        in_pod=False,
    ),
    Setting(
        "max_late",
        timespan,
        "time span",
        (
            "Skip a scheduled run that would begin later than this: after suspend, a clock jump, or a "
            "long run before it."
        ),
        write=timespan_text,
        installed="schedule",
        in_pod=False,
    ),
)
FIELDS: Mapping[str, readers.Reader] = {setting.name: setting.read for setting in SETTINGS}
