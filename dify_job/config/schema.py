"""The settings of a job: one row for each key of the configuration.

Loader, `config show`, manual, TOML writer, the fingerprint of installed files and the limits of Kubernetes
jobs use this table.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..messages.message import msg
from ..system.timespan import positive_timespan, timespan, timespan_text
from . import readers, toml_writer
from .model import (
    Job,
    KeySource,
    Metrics,
    Notify,
    Output,
    RetryPolicy,
    ScheduleConfig,
    header_files,
    local_files,
)

_DEFAULTS = Job(name="default", base_url="", key=KeySource())
_OMITTED = object()  # a value that the fingerprint omits


def _same(value: Any) -> Any:
    return value


def _without_address(files: Mapping[str, tuple[str, ...]]) -> str | None:
    return next((name for names in files.values() for name in names if "://" not in name), None)


class Local(NamedTuple):
    """A part of a value that exists only on this machine, not in a pod.

    Attributes:
        part: Returns the local part of a value; empty if the complete value can go into a pod.
        hint: The alternative.
    """

    part: Callable[[Any], object]
    hint: str


class Setting(NamedTuple):
    """One key of the configuration.

    Attributes:
        name: The key.
        read: Converts the value of a configuration file or a flag. Raises ValueError.
        form: The form of the value in the manual.
        text: The description in the manual; `code` in backquotes.
        write: Converts the value to the form of a configuration file.
        one_of: The group of keys of which a job has at most one: "schedule" or "key".
        installed: Converts the value for the fingerprint of installed files; None if the value reaches no
            installed file, so that a change needs no `install`.
        in_pod: The value goes into the configuration of a Kubernetes job. Otherwise the manifest or the
            cluster has it.
        local: The part of the value that a Kubernetes job cannot have.
        variable: The environment variable of the job `default`, with an example: `NAME=EXAMPLE`.
    """

    name: str
    read: readers.ValueReader
    form: str
    text: str
    write: Callable[[Any], Any] = _same
    one_of: str = ""
    installed: Callable[[Any], Any] | None = None
    in_pod: bool = True
    local: Local | None = None
    variable: str = ""

    def value(self, job: Job) -> Any:
        """Return the value of a job."""
        if self.one_of == "key":
            kinds = (job.key.file, job.key.encrypted, job.key.env)
            return dict(zip(KEY_KINDS, kinds, strict=True))[self.name]
        return getattr(job.schedule if self.name in ScheduleConfig._fields else job, self.name)


SETTINGS = (
    Setting(
        "base_url",
        readers.base_url,
        "address",
        "Dify's address, with or without `/v1` and a trailing slash. Default `http://localhost/v1`.",
        variable="DIFY_BASE_URL=https://dify.example.com/v1",
    ),
    Setting(
        "api_key_file",
        readers.path,
        "path",
        (
            "The file with the app's key and nothing else. It must be a regular file that belongs to "
            "you or to root. Others must not be able to read it, or to write in its directory. A "
            "relative path counts from the config's directory. A credential in `$CREDENTIALS_DIRECTORY`"
            " takes precedence."
        ),
        one_of="key",
        installed=str,
        in_pod=False,
    ),
    Setting(
        "api_key_credential",
        readers.path,
        "path",
        (
            "The file with the key that `dify-job secret set JOB --encrypt` encrypted with "
            "systemd-creds(1), instead of a plain file. systemd (250 or newer) decrypts it for a system"
            " unit. By hand, only root can run such a job."
        ),
        one_of="key",
        installed=lambda path: f"encrypted {path}" if path else _OMITTED,
        in_pod=False,
    ),
    Setting(
        "api_key_env",
        readers.variable,
        "name",
        (
            "The environment variable that contains the key, instead of a file. Timers do not get the"
            " variables of a shell: `install` stores the key in a file."
        ),
        one_of="key",
        in_pod=False,
    ),
    Setting(
        "mode",
        readers.choice("streaming", "blocking"),
        "`streaming` or `blocking`",
        (
            "How the server answers. dify-job can stop only a streamed run: a blocking answer names the"
            " task only at its end. Default `streaming`."
        ),
    ),
    Setting(
        "workflow_id", readers.line, "id", "A published version of the workflow, instead of the newest one."
    ),
    Setting(
        "end_user",
        readers.end_user,
        "text",
        (
            "The Dify end user of the run. By default each run has its own, so that dify-job can find"
            " the run again after a lost connection. With a fixed end user it cannot."
        ),
        variable="DIFY_END_USER=reports",
    ),
    Setting(
        "timeout",
        positive_timespan,
        "time span",
        (
            "Deadline of the whole run, counted from the start of the process. Waiting, retries and "
            "recovery count; `jitter` does not. At the deadline, dify-job stops the run on the server. "
            "Default `30min`."
        ),
        write=timespan_text,
        installed=_same,
    ),
    Setting(
        "connect_timeout",
        positive_timespan,
        "time span",
        "Time limit for connecting to each address of the server. Default `10s`.",
        write=timespan_text,
    ),
    Setting(
        "idle_timeout",
        positive_timespan,
        "time span",
        (
            "If the stream sends no byte for this time, dify-job closes it and searches for the run"
            " on the server; pings count as bytes. Default `5min 30s`."
        ),
        write=timespan_text,
    ),
    Setting(
        "wait_network",
        timespan,
        "time span",
        (
            "How long dify-job tries to reach the server before the first request. Default `60s` for "
            "scheduled runs, 0 for runs by hand."
        ),
        write=timespan_text,
    ),
    Setting(
        "queue_time",
        timespan,
        "time span",
        (
            "How long after its deadline a run with an unknown outcome may still wait in Dify's queue, "
            "or still be in progress. During this time dify-job starts no other run of the job, unless "
            "the server shows that the run has ended. Default `20min`."
        ),
        write=timespan_text,
    ),
    Setting(
        "ca_file",
        readers.path,
        "path",
        (
            "A file of certificates to trust instead of the usual ones. A relative path counts from the"
            " config's directory. dify-job always verifies TLS."
        ),
        installed=str,
        local=Local(
            _same, msg("put the certificate into the container image (deploy/container), and remove ca_file")
        ),
    ),
    Setting(
        "inputs",
        readers.json_table,
        "table",
        (
            "The inputs of the workflow. A text with `{{ }}` is a Jinja template. It can use `now`, "
            "`today`, `last_success` (when the last good run began, or none), `timedelta`, `job`, "
            '`hostname` and `env("NAME")` for the variables that `env` names. Times are in the time '
            "zone of the job's schedule. dify-job asks the app for its input form only if the job has "
            "`files`, or if an input is a table, a list, a text with a JSON table or list, or the text "
            "`true` or `false`. Dify itself converts all other inputs by its form."
        ),
        variable='DIFY_INPUTS=\'{"name": "value"}\'',
    ),
    Setting(
        "files",
        readers.files,
        "table",
        (
            "Inputs that are files: for each input a path, an http(s) address, or a list of them. Each "
            "can be a template. A relative path counts from the config's directory. dify-job checks "
            "local files before any call, and uploads them right before it starts the run. Dify itself "
            "fetches addresses. An empty text means no file."
        ),
        write=lambda files: {key: names[0] if len(names) == 1 else names for key, names in files.items()},
        installed=lambda files: sorted(map(str, local_files(files))),
        local=Local(_without_address, msg("give the file as an http or https address")),
    ),
    Setting(
        "headers",
        readers.headers,
        "table",
        (
            "Extra request headers, for gateways in front of Dify: a public value, or `{ file = "
            '"/path" }` for a secret one (a private file, as for the key). dify-job sends them only '
            "to the server of `base_url`, and shows them nowhere."
        ),
        write=lambda headers: {
            name: {"file": str(item)} if isinstance(item, Path) else item for name, item in headers.items()
        },
        installed=lambda headers: sorted(map(str, header_files(headers))) or _OMITTED,
        local=Local(
            lambda headers: next(iter(header_files(headers)), None),
            msg("if the header value is not secret, write it into the configuration"),
        ),
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
            "What to do while another run of the job is in progress: exit with 75, exit with 0, or "
            "wait for it until the deadline. Default `fail`."
        ),
    ),
    Setting(
        "partial",
        readers.choice("failure", "success"),
        "`failure` or `success`",
        (
            "How dify-job counts a run that Dify reports as `partial-succeeded`: a node failed, and Dify "
            "used its fail branch or default value. Default `failure`."
        ),
    ),
    Setting(
        "retry",
        readers.structure(RetryPolicy, attempts=readers.count, max_wait=timespan),
        "table",
        (
            "`attempts` counts requests, the first included (default 3); `max_wait` bounds the sum of "
            "the pauses (default `2min`). Only requests that provably did not start a run are retried. "
            "If the server is busy, dify-job asks again until `max_wait` is used up, unless `attempts` "
            "is 1."
        ),
        write=toml_writer.toml_table,
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
            "`file` is the path for the result of a successful run. It can be a template; a relative "
            "path counts from the state directory. `select` names the one value to write, such as "
            "`outputs.result`. `format` is `text` (a text as it is) or `json`. `mode` is the mode of "
            'the written files, such as `"0640"`. `downloads = true` also fetches the files that the '
            "workflow returned, into the same directory; `downloads = { max_files = 20, max_size = "
            '"100MB" }` sets other limits. dify-job fetches files from public addresses and from the '
            "server's own host. It fetches from a private network only if the server is on one, or if "
            "`download_hosts` names the host. dify-job overwrites a file only if an earlier run of the "
            "job wrote it."
        ),
        write=toml_writer.toml_table,
        installed=lambda output: output.file,
        local=Local(
            lambda output: output.file or output.downloads,
            msg("remove output, or let the workflow itself send the result"),
        ),
    ),
    Setting(
        "expect",
        readers.expect,
        "table",
        (
            "Conditions for success, by the path of a value. If one is not met, the exit status is 84. "
            'A condition is `"nonempty"`, `"present"`, or a table with `equals`, `regex` (found '
            "anywhere in the text, within 5 s) and `type` (of JSON; several with `|`). Example: "
            '`"outputs.result" = "nonempty"`.'
        ),
        write=lambda expect: {path: toml_writer.toml_expectation(one) for path, one in expect.items()},
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
            "Notifications: `healthchecks` is an address to ping. `on_failure`, `on_success` and "
            "`on_recovery` are lists of files with Apprise targets: `apprise-url-from-file:PATH`."
        ),
        write=toml_writer.toml_table,
        installed=Notify._asdict,
        local=Local(
            lambda notify: next(iter(notify.files), None),
            msg("use only notify.healthchecks, or let the cluster report failed Jobs"),
        ),
    ),
    Setting(
        "metrics",
        readers.structure(Metrics, textfile=readers.prometheus_file),
        "table",
        (
            "Metrics of the last run: `textfile` is a path that ends in `.prom`, in the directory of "
            "the textfile collector of Prometheus's node_exporter."
        ),
        write=toml_writer.toml_table,
        installed=lambda metrics: _OMITTED if metrics.textfile is None else str(metrics.textfile),
        local=Local(
            lambda metrics: metrics.textfile,
            msg("remove metrics from the job, and use the metrics of kube-state-metrics instead"),
        ),
    ),
    Setting(
        "console_url",
        readers.web_address,
        "address",
        (
            "The address of the app in the Dify console. `dify-job history`, `dify-job report` and "
            "notifications show it."
        ),
    ),
    Setting(
        "state",
        readers.choice("disk", "none"),
        "`disk` or `none`",
        (
            "With `none`, dify-job stores no lock, no history and no in-flight record: for containers "
            "without a disk. Default `disk`."
        ),
        in_pod=False,
    ),
    Setting(
        "log_outputs",
        readers.size,
        "size",
        'How much of the outputs to write to the log, such as `"2kB"`. Default none.',
    ),
    Setting(
        "log_file",
        readers.absolute_path,
        "path",
        (
            "The log of the runs that cron starts, on a machine that has neither journald nor syslog. "
            "At 1 MB, dify-job renames it to `FILE.1` and begins a new one. `dify-job logs` shows it."
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
        installed=_same,
        in_pod=False,
    ),
    Setting("description", readers.description, "text", "A title of the job for people.", installed=_same),
    Setting(
        "every",
        positive_timespan,
        "time span",
        (
            "Interval between runs: `2h`, `30min`, `1d`. If it does not divide a day, the scheduler "
            "starts dify-job more often, and dify-job decides each time whether a run is due."
        ),
        write=timespan_text,
        one_of="schedule",
        installed=_same,
        in_pod=False,
        variable="SCHEDULER_INTERVAL_HOURS=2",
    ),
    Setting(
        "calendar",
        readers.strings,
        "expression or list",
        "Run at calendar times in the syntax of systemd.time(7): `Mon..Fri 07:30`.",
        one_of="schedule",
        installed=_same,
        in_pod=False,
    ),
    Setting(
        "cron",
        readers.line,
        "five fields",
        "Run at the times of a crontab line: `30 7 * * 1-5`.",
        one_of="schedule",
        installed=_same,
        in_pod=False,
    ),
    Setting(
        "timezone",
        readers.timezone,
        "zone",
        "The zone of `calendar` and `cron`, such as `Asia/Shanghai`. Default: the machine's.",
        installed=_same,
        in_pod=False,
    ),
    Setting(
        "jitter",
        timespan,
        "time span",
        (
            "Delay each start by up to this time. The delay of a job on a host is the same each time. "
            "Default 0."
        ),
        write=timespan_text,
        installed=_same,
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
        installed=_same,
        in_pod=False,
    ),
    Setting(
        "max_late",
        timespan,
        "time span",
        (
            "Skip a scheduled run that would begin later than this: after a suspend, a clock jump, or a"
            " long run before it."
        ),
        write=timespan_text,
        installed=_same,
        in_pod=False,
    ),
)
FIELDS: Mapping[str, readers.ValueReader] = {setting.name: setting.read for setting in SETTINGS}
SCHEDULE_KINDS = tuple(setting.name for setting in SETTINGS if setting.one_of == "schedule")
KEY_KINDS = tuple(setting.name for setting in SETTINGS if setting.one_of == "key")
VARIABLES = {setting.name: setting.variable.partition("=")[0] for setting in SETTINGS if setting.variable}


def merge_layers(below: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two layers of a job.

    Args:
        below: The lower layer.
        values: The upper layer. It overrides key by key, also in tables; its schedule or key replaces others.
    """
    replaced = {key for kinds in (SCHEDULE_KINDS, KEY_KINDS) if values.keys() & kinds for key in kinds}
    found = {key: value for key, value in below.items() if key not in replaced}
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = found[key] | value if both else value
    return found


def config_values(job: Job, settings: Iterable[Setting]) -> dict[str, Any]:
    """Return settings of a job in the form of a configuration file, without defaults.

    Args:
        job: The job.
        settings: Rows of the table.
    """
    values = ((setting, setting.value(job)) for setting in settings)
    return {
        setting.name: setting.write(value) for setting, value in values if value != setting.value(_DEFAULTS)
    }


def schedule_keys(schedule: ScheduleConfig) -> dict[str, Any]:
    """Return every, calendar, cron and timezone of a schedule, without jitter and the like."""
    named = (setting for setting in SETTINGS if setting.name in (*SCHEDULE_KINDS, "timezone"))
    return config_values(_DEFAULTS._replace(schedule=schedule), named)


def job_document(job: Job, **others: Any) -> str:
    """Return a complete configuration with one job, for Kubernetes.

    Args:
        job: The job.
        **others: Settings that have other values there.
    """
    return toml_writer.document(
        job.name, config_values(job, (each for each in SETTINGS if each.in_pod)) | others
    )


def installed_values(job: Job) -> dict[str, Any]:
    """Return the values that reach installed files, for their fingerprint.

    The values must not change between releases, because every installation would then be outdated.
    """
    job, found = job._replace(schedule=job.times), dict[str, Any]()
    for setting in SETTINGS:
        value = setting.installed(setting.value(job)) if setting.installed is not None else _OMITTED
        if value is not _OMITTED:
            group = found.setdefault("schedule", {}) if setting.name in ScheduleConfig._fields else found
            group["key" if setting.one_of == "key" else setting.name] = value
    return found
