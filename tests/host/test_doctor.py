"""Checks of doctor that need a host: each fault changes one finding, and the suggested fix restores it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.support.fixes import command_in

from .conftest import CANARY, Host
from .test_user_units import Login, alice  # noqa: F401 - a fixture

Lines = dict[str, tuple[str, str, str | None]]
# Like a container or another init: no /run/systemd/system (sd_booted(3)), and no journal.
WITHOUT_SYSTEMD = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /run/systemd; exec "$@"', "sh")
SERVICE, TIMER = "dify-job-daily.service", "dify-job-daily.timer"


@dataclass
class DoctorCase:
    """An installed job and doctor's findings about it."""

    host: Host
    user: str = "root"
    healthy: Lines | None = None
    env: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    job: str = "daily"

    def doctor(self) -> Lines:
        command = (*self.inside, "/opt/dify-job/bin/dify-job", *self.flags, "doctor", self.job, "--json")
        ran = self.host.run(*command, user=self.user, env=self.env, check=False)
        assert ran.stdout, ran.stderr
        [job] = json.loads(ran.stdout)["jobs"]
        assert ran.stderr == ""
        lines = {line["check"]: (line["level"], line["message"], line["fix"]) for line in job["checks"]}
        assert len(lines) == len(job["checks"])
        return lines

    @property
    def site(self) -> str:
        """Directory that dify-job is installed in, whichever Python the host has."""
        return self.host.run("sh", "-c", "echo /opt/dify-job/lib/python3*/site-packages").stdout.strip()

    def sh(self, script: str) -> Callable[[], object]:
        return lambda: self.host.run("sh", "-ec", script)

    def paste(self, command: str, typed: str | None = None) -> None:
        """Run a suggested fix in the caller's shell; `sudo` runs it as root."""
        user = "root" if command.startswith("sudo ") else self.user
        script = command.replace("sudo ", "")
        self.host.run(*self.inside, "sh", "-ec", script, user=user, env=self.env, stdin=typed)

    def assert_found_and_fixed(
        self,
        name: str,
        level: str,
        message: str,
        break_it: Callable[[], object],
        *,
        edit: Callable[[], object] | None = None,
        typed: str | None = None,
    ) -> str:
        """Cause a fault, assert that one finding changes, apply its fix, assert that all is well again.

        Args:
            name: The check that reports the fault.
            level: Expected level.
            message: Expected part of the message.
            break_it: Causes the fault.
            edit: Applies a fix that is an edit; without it the suggested command runs.
            typed: Standard input of the suggested command.

        Returns:
            The suggested fix.
        """
        before = self.healthy = self.healthy or self.doctor()
        assert name not in before or before[name][0] == "ok", before[name]
        break_it()
        broken = self.doctor()
        assert broken[name][0] == level, broken
        assert message in broken[name][1], broken[name]
        changed = {key for key, line in broken.items() if key in before and line[0] != before[key][0]}
        assert changed <= {name}, broken
        fix = broken[name][2]
        assert fix is not None
        if edit is None:
            self.paste(command_in(fix), typed)
        else:
            edit()
        after = self.doctor()
        whole = {key: line[0] for key, line in before.items()} | ({name: "ok"} if name in after else {})
        assert {key: line[0] for key, line in after.items()} == whole
        return fix


def _reset_host(host: Host) -> None:
    """Remove state that the machine below the overlay can have, and mark the clock as synchronised."""
    host.run(
        "sh",
        "-c",
        "rm -rf /var/lib/dify-job; mkdir -p /run/systemd/timesync; touch /run/systemd/timesync/synchronized",
    )


def archive(case: DoctorCase, package: str, fill: str, directory: str) -> None:
    """Create a package archive for the host's apt; `fill` creates the package's files in `directory`."""
    place = f"/srv/archive/{package}"
    control = f"Package: {package}\nVersion: 9999\nArchitecture: all\nMaintainer: t\nDescription: t\n"
    case.host.machine.write(f"{place}/t/DEBIAN/control", control)
    case.host.run("sh", "-ec", (
        f"mkdir -p {place}/t/{directory} {place}/lists/partial; cd {place}/t; {fill}; cd ..; "
        f"dpkg-deb --root-owner-group -Znone --build t t.deb; "
        f"{{ cat t/DEBIAN/control; echo Filename: ./t.deb; echo Size: $(stat -c %s t.deb); "
        f"echo SHA256: $(sha256sum t.deb | cut -c-64); }} > Packages; rm -r t; "
        f"echo 'deb [trusted=yes] file:{place} ./' > sources.list"
    ))  # fmt: skip
    case.host.machine.write(f"{place}/apt.conf", (
        f'Dir::Etc::SourceList "{place}/sources.list"; Dir::Etc::SourceParts "/dev/null"; '
        f'Dir::State::Lists "{place}/lists"; APT::Get::Assume-Yes "true"; APT::Sandbox::User "root";\n'
    ))  # fmt: skip
    case.env |= {"APT_CONFIG": f"{place}/apt.conf", "DEBIAN_FRONTEND": "noninteractive"}
    case.host.run("apt-get", "update", env=case.env)


@pytest.fixture
def case(host: Host) -> DoctorCase:
    _reset_host(host)
    host.job('calendar = "yearly"')
    host("install")
    return DoctorCase(host)


@pytest.fixture
def cron_case(host: Host) -> DoctorCase:
    _reset_host(host)
    host.machine.write("/usr/sbin/sendmail", "#!/bin/sh\ncat >/dev/null\n", 0o755)
    host.job('calendar = "yearly"')
    host("install", "--backend", "cron")
    return DoctorCase(host)


def test_healthy_job_passes_every_check_and_starts_no_run(case: DoctorCase) -> None:
    lines = case.doctor()
    assert {name: line for name, line in lines.items() if line[0] != "ok"} == {}
    assert list(lines) == [
        "config", "key", "tls", "server", "access", "app", "inputs", "schedule", "zone", "backend", "units",
        "override", "enabled", "interpreter", "reach", "bytecode", "clock", "journal", "state", "disk",
        "last-run",
    ]  # fmt: skip
    assert lines["key"][1] == "the API key is in /etc/dify-job/credentials/daily.key (mode 0600, owner root)"
    assert case.host("doctor").code == 0
    assert {one.method for one in case.host.server.received} == {"GET"}


# The files


def test_missing_units(case: DoctorCase) -> None:
    case.assert_found_and_fixed(
        "units", "warn", "the job is not installed", case.sh("dify-job uninstall daily")
    )
    case.assert_found_and_fixed(
        "units", "fail", f"{TIMER} is missing", case.sh(f"rm /etc/systemd/system/{TIMER}")
    )


def test_state_directory_in_place_of_the_link_of_systemd(case: DoctorCase) -> None:
    case.sh(f"systemctl start {SERVICE}")()
    case.assert_found_and_fixed(
        "state",
        "fail",
        "because the state directory exists twice: ",
        case.sh("rm /var/lib/dify-job/daily; mkdir /var/lib/dify-job/daily"),
    )
    case.sh(f"systemctl start {SERVICE}")()


def test_masked_timer(case: DoctorCase) -> None:
    case.assert_found_and_fixed(
        "units",
        "fail",
        f"{TIMER} is masked by the administrator",
        case.sh(f"rm /etc/systemd/system/{TIMER}; systemctl mask {TIMER}"),
    )


def test_units_changed_by_hand_by_an_upgrade_or_by_the_config(case: DoctorCase) -> None:
    edit = f"sed -i s/TimeoutStopSec=45s/TimeoutStopSec=50s/ /etc/systemd/system/{SERVICE}"
    fix = case.assert_found_and_fixed(
        "units", "warn", "edited by hand", case.sh(f"{edit}; systemctl daemon-reload")
    )
    assert "; to overwrite them, run: " in fix
    case.assert_found_and_fixed(
        "units", "warn", "changed on disk", case.sh(f"sleep 1; touch /etc/systemd/system/{SERVICE}")
    )
    change = case.sh("sed -i 's/^calendar.*/calendar = \"monthly\"/' /etc/dify-job/config.toml")
    assert (
        case.assert_found_and_fixed("units", "warn", "the configuration changed since", change)
        == "dify-job install daily"
    )
    template = f"{case.site}/dify_job/deploy/systemd/job.timer.j2"
    upgrade = case.sh(f"cp {template} /root/t; echo '# new' >> {template}")
    case.assert_found_and_fixed("units", "warn", "another version", upgrade)
    case.host.run("mv", "/root/t", template)


def test_unit_that_systemd_does_not_load(case: DoctorCase) -> None:
    place = f"/etc/systemd/system/{SERVICE}.d"
    case.assert_found_and_fixed(
        "units",
        "fail",
        f"systemd cannot load the unit {SERVICE}: bad-setting",
        case.sh(
            f"mkdir {place}; printf '[Service]\\nExecStart=\\n' > {place}/x.conf; systemctl daemon-reload"
        ),
    )
    case.host.run("rmdir", place)


def test_drop_in_is_reported_by_the_settings_it_changes(case: DoctorCase) -> None:
    for unit, text, message in (
        (
            SERVICE,
            "[Service]\\nExecStart=\\nExecStart=/bin/true\\n",
            "it replaces ExecStart= with '/bin/true'",
        ),
        (
            SERVICE,
            "[Unit]\\nConditionPathExists=/nowhere\\n",
            "ConditionPathExists= can prevent the start of a run",
        ),
        (
            TIMER,
            "[Timer]\\nOnCalendar=03:00\\n",
            "it adds OnCalendar to the schedule",
        ),
    ):
        place = f"/etc/systemd/system/{unit}.d"
        put = f"mkdir -p {place}; printf '{text}' > {place}/x.conf; systemctl daemon-reload"
        case.assert_found_and_fixed("override", "warn", message, case.sh(put))
    harmless = "[Unit]\\nOnFailure=x.service\\n[Service]\\nNice=5\\n"
    place = f"/etc/systemd/system/{SERVICE}.d"
    case.host.run("sh", "-ec", f"printf '{harmless}' > {place}/x.conf; systemctl daemon-reload")
    assert case.doctor()["override"][:2] == (
        "ok",
        f"the drop-in {place}/x.conf changes no setting that the job needs",
    )
    case.host.run("rm", "-r", place, f"/etc/systemd/system/{TIMER}.d")


def test_timer_that_is_paused_disabled_or_stopped(case: DoctorCase) -> None:
    case.assert_found_and_fixed("enabled", "warn", "paused", case.sh("dify-job pause daily"))
    case.assert_found_and_fixed("enabled", "warn", "paused", case.sh(f"systemctl stop {TIMER}"))
    case.assert_found_and_fixed(
        "enabled", "warn", "will not run after the next boot", case.sh(f"systemctl disable {TIMER}")
    )


# What a unit starts


def test_interpreter_that_is_gone_or_has_no_dify_job(case: DoctorCase) -> None:
    """The job was installed from a virtual environment that was removed, or rebuilt without dify-job."""
    other = "/opt/other/bin/python"
    venv = "/opt/dify-job/bin/python -m venv --without-pip /opt/other"
    link = f"ln -s {case.site}/* /opt/other/lib/python3*/site-packages/"
    case.host.run("sh", "-ec", f"{venv}; {link}")
    installed = f"{other} -P -m dify_job install daily"
    case.host.run("sh", "-ec", installed)
    level, message, _ = case.doctor()["interpreter"]
    assert (level, message.startswith(f"the job runs with {other}, dify-job ")) == ("ok", True)
    case.assert_found_and_fixed(
        "interpreter",
        "fail",
        f"the Python environment of {other} does not contain dify-job",
        case.sh("rm /opt/other/lib/python3*/site-packages/dify_job"),
    )
    case.host.run(
        "sh", "-ec", f"ln -s {case.site}/dify_job /opt/other/lib/python3*/site-packages/; {installed}"
    )
    assert case.host.status("daily")["sync"] == "as configured"  # the config has not changed
    fix = case.assert_found_and_fixed(
        "interpreter", "fail", f"{other} no longer exists", case.sh("rm -r /opt/other")
    )
    assert fix.endswith(": dify-job install daily")


def test_code_that_the_service_user_cannot_read(case: DoctorCase) -> None:
    case.assert_found_and_fixed("reach", "fail", "has no access to", case.sh("chmod 700 /opt/dify-job"))
    shut = case.sh("chmod 600 /etc/dify-job/config.toml")
    case.assert_found_and_fixed("reach", "fail", "has no access to the configuration file", shut)


def test_code_that_every_run_would_compile(case: DoctorCase) -> None:
    delete = case.sh(f"find {case.site}/click -name '*.pyc' -delete")
    fix = case.assert_found_and_fixed("bytecode", "warn", "are not compiled", delete)
    assert fix.endswith(f" -m compileall -q {case.site}/click")


def test_run_that_systemd_could_not_start(case: DoctorCase) -> None:
    key = "/etc/dify-job/credentials/daily.key"
    case.host.run("sh", "-c", f"rm {key}; systemctl start {SERVICE}", check=False)
    lines = case.doctor()
    assert lines["key"][:1] == ("fail",)
    level, message, fix = lines["last-run"]
    assert (level, fix) == ("warn", "dify-job secret set daily")
    assert "status 243/CREDENTIALS" in message
    case.paste(command_in(fix), CANARY)
    case.host.run("systemctl", "start", SERVICE)
    assert {line[0] for line in case.doctor().values()} == {"ok"}


def test_run_that_was_killed(case: DoctorCase) -> None:
    case.host.job('calendar = "yearly"', key="app-slow")
    case.host.run("systemctl", "start", "--no-block", SERVICE)
    case.host.wait(lambda: case.host.server.runs)
    case.host.run("systemctl", "kill", "--signal=KILL", SERVICE)
    case.host.wait(lambda: case.host.show(SERVICE, "ActiveState") == "failed")
    lines = case.doctor()
    assert lines["last-run"][0] == "warn"
    assert "the process of the run was killed by SIGKILL" in lines["last-run"][1]
    assert lines["in-flight"][0] == "warn"
    case.host.job('calendar = "yearly"')
    assert case.host("run", "daily", check=False).code == 75, "the earlier run may still be in the queue"
    assert case.doctor()["in-flight"][0] == "warn"


def test_run_as_user_that_is_gone(host: Host) -> None:
    _reset_host(host)
    host.run("useradd", "--system", "reports")
    host.job('calendar = "yearly"\nrun_as = "reports"')
    host("install")
    case = DoctorCase(host)
    gone = case.sh("userdel reports")
    fix = case.assert_found_and_fixed(
        "run-as", "fail", "run_as is reports, but this machine has no such user", gone
    )
    assert command_in(fix) == "useradd --system reports"
    assert fix.startswith("edit run_as in /etc/dify-job/config.toml:6, or create the user: ")
    host.run("install", "-d", "/srv/out/daily")
    host.job('calendar = "yearly"\nrun_as = "reports"\noutput = { file = "/srv/out/daily/r.json" }\n'
             'files = { text = "/srv/out/in.txt" }')  # fmt: skip
    host.run("sh", "-ec", "echo x > /srv/out/in.txt; chown reports /srv/out/daily; chmod 750 /srv/out/daily")
    host("install")
    case.healthy = None
    lines = case.doctor()
    assert lines["output"][0] == "ok", lines
    case.assert_found_and_fixed(
        "output", "fail", "reports cannot write", case.sh("chown root /srv/out/daily")
    )
    host.run("userdel", "reports")


def test_variable_that_only_the_shell_of_the_caller_has(case: DoctorCase) -> None:
    place = f"/etc/systemd/system/{SERVICE}.d"
    region = 'env = ["REGION"]'

    def wants_it() -> None:
        case.host.job(f'calendar = "yearly"\n{region}')
        case.host("install")

    case.env["REGION"] = value = r"""50% "south\n" & 'so' X=$on/|\\"""
    case.assert_found_and_fixed("environment", "warn", "REGION", wants_it)
    case.host.job(f"""calendar = "yearly"\n{region}\ninputs = {{ where = "{{{{ env('REGION') }}}}" }}""")
    case.host.run("systemctl", "start", SERVICE)
    [run] = case.host.server.runs
    assert run.inputs["where"] == value
    case.host.job('calendar = "yearly"\nenv = ["REGION", "X"]')
    level, message, _ = case.doctor()["environment"]
    assert (level, "the environment variable X, even" in message) == ("warn", True), "REGION is set"
    wants_it()
    case.host.run("sh", "-ec", f"rm {place}/environment.conf; systemctl daemon-reload")
    case.env["REGION"] = "two\nlines"
    assert command_in(case.doctor()["environment"][2]).startswith("systemctl edit "), (
        "sed would make two of it"
    )
    del case.env["REGION"]
    script = (
        "for file; do :; done",  # the last argument; systemd 257 gives +LINE first
        """printf '[Service]\\nEnvironment="A=b c" REGION=south\\n' >"$file\"""",
    )
    editor = "\n".join(("#!/bin/sh", *script, ""))
    case.host.machine.write("/root/editor", editor, 0o755)
    case.host.run("systemctl", "daemon-reload")
    level, _, fix = case.doctor()["environment"]
    assert (level, fix) == (
        "warn",
        f"add Environment=REGION=... to the section [Service] of the unit: systemctl edit {SERVICE}",
    )
    terminal = f'script -qec "{command_in(fix)}" /dev/null'
    case.host.run("sh", "-ec", terminal, env={"SYSTEMD_EDITOR": "/root/editor", "TERM": "dumb"})
    lines = case.doctor()
    case.host.run("rm", "-r", place)
    assert (lines["environment"][0], lines["override"][0]) == ("ok", "ok")


# The machine


def test_unsynchronised_clock(case: DoctorCase) -> None:
    # A container shares the kernel's clock with its host, so the test replaces what the kernel reports.
    mark, tool = "/run/systemd/timesync/synchronized", "/opt/dify-job/bin/timedatectl"
    case.host.machine.write(
        tool, f'#!/bin/sh\n[ "$1 $2" = "set-ntp true" ] && exec touch {mark}\necho no\n', 0o755
    )
    case.assert_found_and_fixed("clock", "warn", "not synchronised", case.sh(f"rm {mark}"))
    case.host.run("rm", tool)


def test_full_disk(case: DoctorCase) -> None:
    mount = "mkdir -p /var/lib/dify-job; mount -t tmpfs -o size={}M tmpfs /var/lib/dify-job"
    free = case.sh("umount /var/lib/dify-job")
    for size, level in ((1, "fail"), (50, "warn")):
        fix = case.assert_found_and_fixed(
            "disk", level, "MB of disk space are free at ", case.sh(mount.format(size)), edit=free
        )
        case.paste(command_in(fix))  # it shows what is full; a person decides what to delete


def test_state_on_a_read_only_mount(case: DoctorCase) -> None:
    mount = "mkdir -p /var/lib/dify-job; mount -t tmpfs -o ro tmpfs /var/lib/dify-job"
    case.assert_found_and_fixed(
        "state", "fail", "is on a file system that is mounted read-only", case.sh(mount)
    )
    case.host.run("umount", "/var/lib/dify-job")


def test_zone_data_that_systemd_lacks(case: DoctorCase) -> None:
    """Without it Python has none either, unless from a package of its own."""
    case.host.job('calendar = "07:00"\ntimezone = "Asia/Kolkata"')
    case.host("install")
    case.env["PYTHONTZPATH"] = "/opt/zones"
    case.host.run("cp", "-r", "/usr/share/zoneinfo", "/opt/zones")
    archive(case, "tzdata", "cp -r /opt/zones usr/share/zoneinfo", "usr/share")
    remove = case.sh("rm /usr/share/zoneinfo/Asia/Kolkata")
    case.assert_found_and_fixed(
        "zone", "fail", "the job's time zone Asia/Kolkata is missing in /usr/share/zoneinfo", remove
    )
    case.host.run("rm", "/usr/share/zoneinfo/Asia/Kolkata")
    del case.env["PYTHONTZPATH"]
    [(name, (level, message, fix))] = case.doctor().items()
    assert (name, level) == ("config", "fail")
    assert "Asia/Kolkata" in message
    case.paste("apt-get install --reinstall tzdata")
    assert fix
    assert case.doctor()["zone"][0] == "ok"


def test_dangling_localtime(case: DoctorCase) -> None:
    case.host.run("sh", "-c", "cp -P /etc/localtime /root/localtime", check=False)
    astray = case.sh("ln -sfn /usr/share/zoneinfo/No/Where /etc/localtime")
    fix = case.assert_found_and_fixed(
        "zone", "warn", "the system clock uses UTC, because /etc/localtime points to ", astray
    )
    assert fix == "set this machine's time zone; to set UTC, run: timedatectl set-timezone UTC"
    case.inside = WITHOUT_SYSTEMD
    astray()
    assert (
        case.doctor()["zone"][2]
        == "set this machine's time zone; to set UTC, run: ln -sfn /usr/share/zoneinfo/UTC /etc/localtime"
    )
    case.paste(command_in(case.doctor()["zone"][2]))
    assert case.doctor()["zone"][0] == "ok"
    case.host.run("sh", "-c", "rm /etc/localtime; mv /root/localtime /etc/localtime 2>/dev/null || true")


def test_scope_option_selects_the_job(case: DoctorCase) -> None:
    case.flags = ("--config", "/etc/dify-job/config.toml")
    asked = {}
    for flag in ("--system", "--user"):
        ran = case.host(*case.flags, "doctor", "daily", "--json", flag, check=False)
        [job] = json.loads(ran.stdout)["jobs"]
        asked[flag] = {line["check"]: line["level"] for line in job["checks"]}
    assert asked["--system"]["enabled"] == "ok"
    assert asked["--user"]["units"] == "warn"
    cron_case = case.host("doctor", "daily", "--backend", "cron", "--json", check=False)
    [line] = [line for line in json.loads(cron_case.stdout)["jobs"][0]["checks"] if line["check"] == "units"]
    assert line["level"] != "ok"
    assert line["fix"] == "dify-job install daily --backend cron"


def test_history_of_another_user_is_not_read_and_the_hint_shows_it(case: DoctorCase) -> None:
    case.host.run("systemctl", "start", SERVICE)
    refused = case.host("history", "daily", user="mallory", check=False)
    assert refused.code == 77
    assert "you have no permission to read the history of daily" in refused.stderr
    command = refused.stderr.splitlines()[-1].strip()
    assert command == "sudo dify-job history daily"
    output = case.host.run("sh", "-ec", command.removeprefix("sudo ")).stdout
    assert "succeeded" in output


@pytest.mark.parametrize(
    ("line", "check"),
    [
        ('output = { file = "/root/d/out.json" }', "output"),
        ('metrics = { textfile = "/root/d/x.prom" }', "output"),
        ('notify = { on_failure = ["apprise-url-from-file:/root/d/urls"] }', "notify"),
        ('files = { a = "/root/d/in.pdf" }', "files"),
    ],
)
def test_paths_that_the_caller_cannot_read(host: Host, line: str, check: str) -> None:
    host.machine.write("/root/d/urls", "ntfy://x\n", 0o600)
    place = "/home/mallory/.config/dify-job"
    host.run("sh", "-ec", f"umask 077; mkdir -p {place}; printf app-x >{place}/k", user="mallory")
    text = f'[jobs.daily]\nbase_url = "{host.server.base_url}"\napi_key_file = "{place}/k"\n{line}\n'
    host.machine.write(f"{place}/config.toml", text, owner="mallory")
    ran = host("doctor", "daily", "--json", user="mallory", check=False)
    host.run("rm", "-r", "/root/d")
    [job] = json.loads(ran.stdout)["jobs"]
    assert (ran.code, ran.stderr) == (2, "")
    assert [one["level"] for one in job["checks"] if one["check"] == check] != []


def test_job_of_root_with_config_and_interpreter_unreadable_to_the_caller(host: Host) -> None:
    host.job('calendar = "yearly"\nrun_as = "root"')
    host.run(
        "sh",
        "-ec",
        "mkdir /root/d; cp /etc/dify-job/config.toml /root/d/c.toml; cp -r /opt/dify-job /root/d/v",
    )
    host.run(
        "/root/d/v/bin/python", "-m", "dify_job", "--config", "/root/d/c.toml", "install", "--backend", "cron"
    )
    assert host.status("daily", user="mallory")["sync"] == "as configured"
    doctor = host("doctor", "daily", "--json", user="mallory", check=False)
    assert doctor.stdout, doctor.stderr
    lines = {one["check"]: one for one in json.loads(doctor.stdout)["jobs"][0]["checks"]}
    assert (
        lines["interpreter"]["message"]
        == "you have no permission to look at the job's interpreter /root/d/v/bin/python"
    )
    assert lines["interpreter"]["fix"] == "sudo dify-job doctor daily"
    host("uninstall", "daily")
    host.run("rm", "-r", "/root/d")


def test_unprivileged_doctor_names_the_checks_that_need_sudo(case: DoctorCase) -> None:
    other = DoctorCase(case.host, "mallory")
    case.host.run("rm", "-rf", "/var/lib/dify-job", "/var/lib/private/dify-job")
    assert other.doctor()["state"][:2] == (
        "ok",
        "the first run will create the state directory /var/lib/dify-job/daily",
    )
    case.host("run", "daily")
    lines = other.doctor()
    output = case.host("status", user="mallory").stdout
    assert output.endswith(
        "you have no permission to read some results; to read them, run: sudo dify-job status\n"
    )
    state = "/var/lib/dify-job/daily"
    assert lines["last-run"][1] == f"you have no permission to read the last run in {state}"
    assert lines["state"][1] == f"you have no permission to look into the state directory {state}"
    assert lines["key"][0] == "warn"
    assert lines["key"][2] == "sudo dify-job doctor daily"
    assert lines["journal"][0] == "warn"
    assert {line[0] for name, line in lines.items() if name not in ("key", "journal")} == {"ok"}, lines
    other.paste(command_in(lines["journal"][2]))
    assert other.doctor()["journal"][0] == "ok"
    case.host.run("gpasswd", "-d", "mallory", "systemd-journal")


# cron


def test_stopped_cron_daemon(cron_case: DoctorCase) -> None:
    lines = cron_case.doctor()
    assert {name: line for name, line in lines.items() if line[0] != "ok"} == {}
    cron_case.assert_found_and_fixed(
        "backend", "fail", "the cron daemon is not running", cron_case.sh("systemctl stop cron")
    )


def test_cron_file_that_cron_ignores_or_that_was_changed(cron_case: DoctorCase) -> None:
    file = "/etc/cron.d/dify-job-daily"
    cron_case.assert_found_and_fixed("units", "fail", "cron ignores", cron_case.sh(f"chmod 664 {file}"))
    cron_case.assert_found_and_fixed(
        "units", "warn", "edited by hand", cron_case.sh(f"sed -i 's/^0 /1 /' {file}")
    )
    cron_case.assert_found_and_fixed("enabled", "warn", "paused", cron_case.sh("dify-job pause daily"))


def test_host_without_a_mailer_under_cron(cron_case: DoctorCase) -> None:
    archive(cron_case, "msmtp-mta", "install -m 755 /bin/cat usr/sbin/sendmail", "usr/sbin")
    cron_case.assert_found_and_fixed(
        "mail", "warn", "this machine has no mail program", cron_case.sh("rm /usr/sbin/sendmail")
    )
    cron_case.host.run("dpkg", "--purge", "msmtp-mta")


def test_job_installed_in_two_schedulers(cron_case: DoctorCase) -> None:
    cron_case.host.run(
        "sh", "-c", "cp /etc/cron.d/dify-job-daily /root/; dify-job uninstall daily; dify-job install daily"
    )
    fix = cron_case.assert_found_and_fixed(
        "units",
        "fail",
        "so it runs twice each time",
        cron_case.sh("cp /root/dify-job-daily /etc/cron.d/dify-job-daily"),
    )
    assert fix == "dify-job uninstall daily --backend cron --system"


# Jobs of a user


def test_user_job_without_lingering(alice: Login) -> None:  # noqa: F811
    alice.configure()
    alice("install", "--env-file", ".env", "--every", "2h")

    def doctor() -> Lines:
        [job] = json.loads(alice("doctor", "default", "--json", check=False).stdout)["jobs"]
        return {line["check"]: (line["level"], line["message"], line["fix"]) for line in job["checks"]}

    before = doctor()
    assert {name for name, line in before.items() if line[0] != "ok"} <= {"clock"}, before
    assert "linger" in before
    root = DoctorCase(alice.host).paste

    def assert_fixed(name: str, level: str) -> None:
        line = doctor()[name]
        assert line[0] == level, line
        command = command_in(line[2])
        assert command.startswith("sudo ")
        root(command)
        assert doctor()[name][0] == "ok"

    manager = f"user@{alice.uid}.service"
    alice.host.run("loginctl", "disable-linger", "alice")
    # In systemd 257 a start of the manager hangs until logind has forgotten the user.
    alice.host.wait(lambda: not alice.host.machine.exists(f"/run/systemd/users/{alice.uid}"))
    alice.host.run("systemctl", "start", manager)  # as in a login
    assert_fixed("linger", "warn")
    alice.host.run("loginctl", "disable-linger", "alice")
    alice.host.run("systemctl", "stop", manager)
    alice.host.wait(lambda: doctor()["backend"][0] == "fail")
    broken = doctor()
    assert {name for name, line in broken.items() if line[0] != before.get(name, line)[0]} == {
        "backend",
        "linger",
    }, broken
    root(command_in(broken["backend"][2]))
    alice.host.wait(lambda: doctor() and doctor()["backend"][0] == doctor()["linger"][0] == "ok")
    alice.host.run("chown", "root", "/home/alice/.local/state")
    alice.host.run("sh", "-c", "install -d -o root -m 700 /home/alice/.local/state/dify-job/default")
    assert_fixed("state", "fail")
    alice.host.run("chown", "-R", "alice", "/home/alice/.local/state")
    assert doctor()["state"][0] == "ok"
