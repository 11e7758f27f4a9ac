"""The command under a Chinese locale: text for people is Chinese, JSON is English in every locale."""

import html
import json
import os
import pwd
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from dify_job.checks.registry import CHECKS
from dify_job.config.schema import FIELDS
from dify_job.exit_codes import TABLE
from tests.contract.play import HOME, NOBODY, Player
from tests.support.command import APPS, KEY, Command
from tests.support.fake_dify.server import FakeDify
from tests.support.fork_server import ForkResult, Forks

CHINESE = {"LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN.UTF-8", "DIFY_BASE_URL": "http://127.0.0.1:1"}
HAN = re.compile(r"[\u4e00-\u9fff]")
KEYS = ("fails", "form", "chat", "off", "partial", "human", "unpublished")
CONFIG = """
[defaults]
base_url = "{url}"
retry = {{ attempts = 1 }}
[jobs.daily]
api_key_file = "{home}/key-daily"
every = "2h"
[jobs.fails]
api_key_file = "{home}/key-fails"
every = "7h"
[jobs.form]
api_key_file = "{home}/key-form"
cron = "30 2 * * *"
timezone = "Europe/Berlin"
jitter = "5min"
[jobs.chat]
api_key_file = "{home}/key-chat"
calendar = ["Mon..Fri 07:00"]
[jobs.off]
api_key_file = "{home}/key-off"
[jobs.partial]
api_key_file = "{home}/key-partial"
partial = "failure"
[jobs.human]
api_key_file = "{home}/key-human"
[jobs.unpublished]
api_key_file = "{home}/key-unpublished"
[jobs.gone]
api_key_file = "{home}/key-daily"
base_url = "http://127.0.0.1:1"
"""
BROKEN = """
[jobs.daily]
nope = 1
every = "2"
cron = "0 7 * * *"
calendar = "foo"
timeout = -1
retry = {{ attempts = "x" }}
timezone = "Mars/X"
[jobs.fails]
base_url = "ftp://x"
overlap = "x"
expect = {{ "outputs.text" = "x" }}
[jobs.form]
api_key_file = "{home}/absent"
cron = "0 0 30 2 *"
"""
COMMANDS = """
run daily
run fails
run form
run chat
run off
run partial
run human
run unpublished
run gone
run absent
run daily a=b
run daily -i x
run daily --print x
run daily --print outputs.nope
run --mode fast
run --print
run daily --timeout never
run daily --inputs @missing
run daily --inputs -
run daily --file a
run daily --file f={home}/absent
run a=b
run form --dry-run
run --if-due daily
install --dry-run
install --diff
install --check
install
install daily
install daily
install daily fails
install daily --every 90min
install daily --cron 99
install --every 2h
install --installed daily
install daily --run-as nobody
install daily --http
install daily --http
install daily --http --http-listen 0.0.0.0:80
install daily --http-listen 127.0.0.1:1
install fails --backend cron
install --check
pause
pause daily
pause gone
status
status daily
status --watch --json
doctor
doctor daily
doctor form
doctor gone
history
history daily
history --failed --since yesterday
history --since tomorrow
history --since x
history absent
logs --nope
logs absent
logs -n x
next
next daily
report --days 0
report --output {home}/absent/page.html
resume daily
stop daily
config show daily
config validate
notify daily
secret set daily --key-file {home}/key-daily
secret set off --key-file {home}/key-off
secret set daily --key-file {home}/absent
secret set daily
render --target cron gone --output-dir {home}/out
render --target kubernetes
render --target systemd --image x form
exit-codes
init daily --key-file {home}/key-daily --base-url {url}
init other --key-file {home}/key-daily --base-url {url}
init Third --offline --key-file {home}/key-daily
init third --offline --key-file {home}/key-daily -i a=b --every 2h
init fourth --base-url ftp://x --key-file {home}/key-daily
init fifth --base-url http://127.0.0.1:1 --key-file {home}/key-daily
init sixth --base-url {url} --key-file {home}/key-form -i nope=1
init seventh --base-url {url} --key-file {home}/key-chat
init eighth --base-url {url} --key-file {home}/key-daily --every 1
init
uninstall
uninstall daily
uninstall --all --purge
status
frob
statu
start daily
edit daily
http daily
--config {home}/broken.toml config validate
--config {home}/broken.toml status
--config {home}/broken.toml doctor
--config {home}/broken.toml run daily
--config {home}/absent status
--env-file {home}/absent run
"""
# English words that a Chinese line can contain: names of the program, the system and its files, and values.
NAMES = {
    pwd.getpwuid(os.geteuid()).pw_name,
    *(str(row.outcome) for row in TABLE),
    *(check.name for check in CHECKS),
    *FIELDS,
    *KEYS,
    "a-z", "api_key", "app-", "cdef", "deploy", "docs", "failure", "kubernetes", "partial-succeeded", "HTTP",
    "init", "daily", "gone", "absent", "third", "other", "seventh", "out", "nope", "frob", "statu", "start",
    "edit", "fix", "warn", "fail", "skip", "wait", "user", "root", "nobody", "status", "error", "code",
    "false", "API", "Asia", "DIFY_JOB_CONFIG", "DNS", "Dify", "Europe", "JOB", "JSON", "SIGHUP", "SIGINT",
    "SIGQUIT", "SIGTERM", "Shanghai", "TLS", "TOML", "URL", "UTC", "app", "cron", "crontab", "env", "http",
    "https", "advanced-chat", "drop-in", "install", "localhost", "man", "max_late", "min", "outputs",
    "pause", "run", "streaming", "string", "systemd", "total_steps", "total_tokens", "elapsed_time",
    "ulimit", "uninstall", "LoadCredential", "equals", "regex", "type", "nonempty", "yesterday", "KEY",
    "PATH", "Mon", "Fri", "text-input", "text", "Fake", "Token", "dify-job", "journalctl",
}  # fmt: skip
PROGRAMS = "dify-job|systemctl|journalctl|loginctl|curl|crontab|printf|chown|kubectl|ls|grep|mv|iconv|shred"
VALUES = re.compile(
    rf"^dify-job: |(sudo )?\b({PROGRAMS}) [ -~]*"  # a command
    r"|\d{4}-\d\d-\d\dT\S+"  # a time
    r"|[~/][\w./-]+|\w+://[\w./:-]+|'[^']*'|\"[^\"]*\"|“[^”]*”"  # a path, an address, a quotation
    r"|(?<!\w)--?[\w-]+|\w+=[!-~]*|[\w-]+\.[\w.-]+|\[[^\]]*\]|\{[^}]*\}"  # option, setting, file, table
    r"|Ask the service|Connection refused|Please check if your app mode .*|text is required in input form"
)


def english_words(text: str) -> list[str]:
    words = re.findall(r"[A-Za-z][A-Za-z0-9_-]{2,}", VALUES.sub(" ", text))
    return [word for word in words if word not in NAMES and not re.fullmatch(r"[0-9a-f-]{8,}", word)]


def test_english_sentence_is_noticed() -> None:
    assert english_words("任务 daily：no run is on record") == ["record"]
    assert english_words("无法读取 /etc/x：Is a directory") == ["directory"]
    assert not english_words("✗ fails  failed (80)  已配置，但未安装：dify-job install fails")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[Callable[[str], ForkResult]]:
    """Function that runs a command in Chinese, in a home with a job of each kind."""
    with FakeDify(APPS, ping=0.5) as server:
        values = {"home": HOME, "url": server.base_url}
        player = Player(forks, tmp_path_factory.mktemp("chinese") / "home", CONFIG.format(**values))
        files = {f"key-{name}": f"app-{name}\n" for name in KEYS} | {"key-daily": f"{KEY}\n"}
        for name, text in (files | {"broken.toml": BROKEN.format(**values)}).items():
            (player.home / name).write_text(text)
            (player.home / name).chmod(0o600)
        if os.geteuid() == 0:
            for path in (player.home, *player.home.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield lambda line: player(
            *line.format(**values).split(),
            env={**CHINESE, "COLUMNS": "200", "HTTPS_PROXY": "", "NO_PROXY": "*"},
            patches={"sys:executable": sys.executable},
        )


def test_text_for_people_has_no_english_sentence(run: Callable[[str], ForkResult]) -> None:
    found: dict[str, list[str]] = {}
    for command in COMMANDS.strip().splitlines():
        ended = run(command)
        if command.startswith(("run ", "render ", "install --d")):
            ended.stdout = ""  # a result, and files
        lines = f"{ended.stdout}\n{ended.stderr}".replace(HOME, "~").splitlines()
        shown = [line for line in lines if not line.startswith("{")]  # the log
        found |= {f"{command}: {line}": words for line in shown if (words := english_words(line))}
    assert not found, "\n".join(f"{line} {words}" for line, words in found.items())


@pytest.mark.parametrize("command", ["report", "--config {home}/broken.toml report"])
def test_overview_page_has_no_english_sentence(run: Callable[[str], ForkResult], command: str) -> None:
    run("run fails")
    page = re.sub(r"(?s)<style>.*?</style>|<[^>]*>", "\n", run(command).stdout)
    lines = html.unescape(page).replace(HOME, "~").splitlines()
    assert {line: words for line in lines if (words := english_words(line))} == {}


@pytest.mark.parametrize(
    "command",
    [
        "run daily",
        "run fails",
        "run form",
        "run gone",
        "run absent",
        "run daily a=b",
        "run daily --nope",
        "run daily --timeout",
        "run --mode fast",
        "run --lost x",
        "run daily --inputs [1]",
        "run daily --file a",
        "run daily --dry-run",
        "status --json",
        "history --json",
        "next --json",
        "doctor --json",
        "config show --json",
        "exit-codes --json",
        "--config {home}/broken.toml status --json",
        "--config {home}/broken.toml doctor --json",
        "--config {home}/broken.toml run daily",
        "--config {home}/absent doctor --json",
    ],
)
def test_json_is_english_in_every_locale(run: Callable[[str], ForkResult], command: str) -> None:
    ended = run(command)
    assert json.loads(ended.stdout)
    assert HAN.findall(ended.stdout) == []
    log = [line for line in ended.stderr.splitlines() if line.startswith("{")]
    assert [line for line in log if HAN.search(line)] == []


def test_error_is_chinese_for_people_and_english_in_json(dify_job: Command) -> None:
    english = dify_job("run", env={**CHINESE, "LC_ALL": "C"})
    done = dify_job("run", env=CHINESE)
    assert done.code == english.code == 78
    assert english.result["message"] == "job default has no API key"
    untimed = [{**ran.result, "call_time": "", "duration_s": 0} for ran in (done, english)]
    assert untimed[0] == untimed[1]
    assert "任务 default 没有 API 密钥" in dify_job("run", "--log-format", "console", env=CHINESE).stderr


def test_state_and_json_log_stay_english(dify_job: Command) -> None:
    done = dify_job("run", env={**CHINESE, "DIFY_API_KEY": "app-x"})
    assert done.code == 69
    assert json.loads((dify_job.home / "state/last.json").read_text())["message"].startswith(
        "the server could not"
    )
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["event"].startswith("the server could not be reached")
