"""Templates in config values: available names, and the sandbox."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dify_job import log
from dify_job.config.model import Job, KeySource, ScheduleConfig
from dify_job.exit_codes import Outcome
from dify_job.messages.errors import JobError
from dify_job.run.inputs import Templates, secrets_in
from dify_job.system.templates import render_value

LAST = datetime(2026, 1, 31, 7, tzinfo=UTC)


def rendered(
    template: str, *, last: datetime | None = LAST, env: tuple[str, ...] = ("REGION",), zone: str = "UTC"
) -> Any:
    job = Job(
        name="daily",
        base_url="http://x/v1",
        key=KeySource(env="KEY"),
        inputs={"a": template},
        env=env,
        schedule=ScheduleConfig(timezone=zone),
    )
    environ = {"REGION": "eu", "KEY": "app-secret", "OTHER": "x"}
    return Templates(job, lambda: last, environ).inputs()["a"]


def refused(template: str, **settings: Any) -> JobError:
    began = time.monotonic()
    with pytest.raises(JobError) as caught:
        rendered(template, **settings)
    assert time.monotonic() - began < 60
    assert caught.value.outcome is Outcome.CONFIG
    return caught.value


def test_template_can_use_the_documented_names() -> None:
    assert rendered("{{ last_success.isoformat() }} {{ job }}") == "2026-01-31T07:00:00+00:00 daily"
    assert rendered("{{ last_success or 'never' }}", last=None) == "never"
    assert rendered("{{ today }}") == rendered("{{ now.date() }}")
    assert rendered("{{ hostname }}")
    assert rendered("{{ (last_success - timedelta(days=1)).date() }}") == "2026-01-30"
    assert rendered("{{ env('REGION') }}{{ env('UNSET', 'd') }}", env=("REGION", "UNSET")) == "eud"
    assert rendered("{{ range(3) | map('string') | join(',') }}") == "0,1,2"
    assert rendered("{% for a in [1, 2] %}{{ loop.index }}{{ loop.last }}{% endfor %}\n") == "1False2True\n"


def test_times_are_in_the_zone_of_the_schedule() -> None:
    names = "{{ last_success.isoformat() }} {{ (last_success - timedelta(hours=12)).date() }}"
    assert rendered("{{ now.utcoffset() }}", zone="Asia/Shanghai") == "8:00:00"
    assert rendered(names, zone="Asia/Shanghai") == "2026-01-31T15:00:00+08:00 2026-01-31"
    assert rendered(names, zone="America/New_York") == "2026-01-31T02:00:00-05:00 2026-01-30"


def test_env_reads_only_listed_variables_and_never_the_key() -> None:
    error = refused("{{ env('OTHER') }}")
    assert "OTHER" in error.message
    assert error.hint == 'allow the variable in the job: env = ["OTHER"]'
    assert "does not list" in refused("{{ env('KEY') }}", env=("KEY",)).message
    assert "is not set" in refused("{{ env('UNSET') }}", env=("UNSET",)).message


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ nope }}", "'nope' is undefined"),
        ("{{ now.nope }}", "no attribute 'nope'"),
        ("{{ last_success.isoformat( }}", "unexpected"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ [1][5] }}", "no element 5"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ {} | attr('__class__') }}", "unsafe"),
        ("{{ env.__globals__ }}", "unsafe"),
        ("{{ timedelta.__subclasses__() }}", "unsafe"),
        ("{{ timedelta(days=10 ** 12) }}", "too large"),
        ("{{ self.__init__.__globals__ }}", "unsafe"),
        ("{{ '{0.__class__}'.format(1) }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ lipsum(10 ** 6) }}", "'lipsum' is undefined"),
        ("{{ [].append(1) }}", "unsafe"),
        ("{{ 'a' * 10 ** 10 }}", "more than 256 MiB"),
        ("{{ 'a' | center(10 ** 10) }}", "more than 256 MiB"),
        ("{{ '%10000000000d' % 3 }}", "more than 256 MiB"),
        ("{{ 'a' * 2_000_000 }}", "longer than 1000000 characters"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{{ 9 ** (9 ** 9) }}", "more than 100000 bits"),
        ("{% set n = namespace(x=3) %}{% for i in range(40) %}{% set n.x = n.x * n.x %}{% endfor %}", "bits"),
        (
            "{% set n = namespace(x='x') %}{% for i in range(50) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "MiB",
        ),
        (
            "{% set r = range(999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}",
            "100000 times",
        ),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "recursion"),
    ],
)
def test_forbidden_template_is_rejected(template: str, words: str) -> None:
    error = refused(template)
    assert error.message.startswith("inputs.a: the template cannot be rendered: ")
    assert words in error.message
    assert "a template can use these names: env, hostname, job, last_success, now, timedelta, today" in str(
        error.hint
    )


def test_value_of_a_secret_variable_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[str] = []
    monkeypatch.setattr(log, "add_secret", hidden.append)
    inputs = {"x": "{{ env('DB_PASSWORD') }}{{ env('R') }}"}
    job = Job(name="a", base_url="", key=KeySource(), inputs=inputs, env=("DB_PASSWORD", "R"))
    assert Templates(job, lambda: None, {"DB_PASSWORD": "p", "R": "r"}).inputs() == {"x": "pr"}
    assert hidden == ["p"]


@given(text=st.text(max_size=80))
def test_text_without_braces_is_unchanged(text: str) -> None:
    text = text.replace("{", "(")
    assert rendered(text) == text
    assert render_value(text.rstrip("\n").replace("\r", ""), {}, "a") is not None


def test_secrets_are_found_at_any_depth() -> None:
    inputs = {
        "db": {"password": "p-1234", "host": "h", "more": [{"api_key": ["k-1", 5678]}]},
        "Auth-Token": {"value": "t-1"},
        "topic": "sales",
        "passphrase": True,
    }
    assert sorted(secrets_in(inputs)) == ["5678", "k-1", "p-1234", "t-1"]
