import pytest

from dify_job.schedulers.dropins import effects


def effects_of(*texts: str, timeout: float = 1800, catch_up: bool = False) -> str:
    return "; ".join(effects(texts, timeout=timeout, catch_up=catch_up))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Service]\nExecStart=\nExecStart=/bin/true\n", "it replaces ExecStart= with '/bin/true'"),
        ("[Service]\nExecStart=\n", "it empties ExecStart="),
        ("[Service]\nTimeoutStartSec=5min\n", "TimeoutStartSec= ends a run before the job's own timeout"),
        ("[Service]\nDynamicUser=no\nUser=alice\n", "it sets DynamicUser= to 'no'; it sets User= to 'alice'"),
        ("[Service]\nLoadCredential=\n", "it empties LoadCredential="),
        ("[Service]\nLoadCredentialEncrypted =\n", "it empties LoadCredential="),
        ("[Timer]\nOnCalendar=03:00\n", "it adds OnCalendar to the schedule"),
        ("[Timer]\nOnBootSec=5min\n", "it adds OnBootSec to the schedule"),
        ("[Timer]\nOnCalendar=\nOnCalendar=03:00\n", "it replaces the schedule"),
        ("[Timer]\nPersistent=yes\n", "Persistent= catches up missed runs"),
        (
            "[Unit]\nConditionACPower=yes\nAssertUser=a\n",
            "AssertUser=, ConditionACPower= can prevent the start of a run",
        ),
        ("[Service]\nExecStartPre=/bin/false\n", "ExecStartPre= can prevent the start of a run"),
        ("[Service]\nType=simple\nRestart=always\n", "Restart=always starts another run after each run"),
        ("[Service]\nRestart=on-success\n", "Restart=on-success starts another run after each run"),
        ("[Service]\nRestartPreventExitStatus=\n", "Restart= can repeat a run that Dify has started"),
        ("[Service]\nPrivateNetwork=yes\n", "PrivateNetwork= disconnects the run from the network"),
        ("[Service]\nIPAddressDeny=any\n", "IPAddressDeny= can block the connection to Dify"),
        ("[Timer]\nUnit=other.service\n", "Unit= sets the unit that the timer starts to other.service"),
        ("[Service]\nExecStart=\nExecStart=/bin/a \\\n  b\n", "it replaces ExecStart= with '/bin/a    b'"),
    ],
)
def test_override_of_a_needed_setting_is_reported(text: str, message: str) -> None:
    assert message in effects_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[Unit]\nOnFailure=x.service\n",
        "[Service]\nRestart=on-failure\nRestartSec=5min\nNice=5\nEnvironment=A=ExecStart=\n",
        "# ExecStart=\n; OnCalendar=03:00\n[Service]\n",
        "[Service]\nTimeoutStartSec=2h\n",
        "[Service]\nTimeoutStartSec=infinity\n",
        "[Service]\nLoadCredential=more:/etc/more\n",
        "no setting at all\n",
        "[Unit]\nConditionACPower=\n[Service]\nPrivateNetwork=no\nIPAddressDeny=\nExecStartPost=/bin/a\n",
    ],
)
def test_override_of_another_setting_is_not_reported(text: str) -> None:
    assert effects_of(text) == ""


def test_override_of_persistent_is_compared_with_catch_up() -> None:
    assert effects_of("[Timer]\nPersistent=yes\n", catch_up=True) == ""


def test_later_drop_in_wins() -> None:
    assert effects_of("[Service]\nTimeoutStartSec=5min\n", "[Service]\nTimeoutStartSec=2h\n") == ""
    assert "replaces" in effects_of("[Timer]\nOnCalendar=03:00\n", "[Timer]\nOnCalendar=\nOnCalendar=04:00\n")
