"""Checks of doctor that need a host: each fault changes one finding, and its fix restores it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.support.fixes import command_in

from .conftest import CANARY, Host
from .test_user_units import Login, alice  # noqa: F401 - a fixture

Lines = dict[str, tuple[str, str, str | None]]
# As a container or another init has it: no /run/systemd/system (sd_booted(3)), and no journal.
WITHOUT_SYSTEMD = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /run/systemd; exec "$@"', "sh")
SERVICE, TIMER = "dify-job-daily.service", "dify-job-daily.timer"


@dataclass
class Ward:
    """A job on the host, and the lines of doctor about it."""

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
        """Where dify-job is installed, for whatever Python the host has."""
        return self.host.run("sh", "-c", "echo /opt/dify-job/lib/python3*/site-packages").stdout.strip()

    def sh(self, script: str) -> Callable[[], object]:
        return lambda: self.host.run("sh", "-ec", script)

    def paste(self, command: str, typed: str | None = None) -> None:
        """What its line says, in the caller's shell; sudo is root."""
        user = "root" if command.startswith("sudo ") else self.user
        script = command.replace("sudo ", "")
        self.host.run(*self.inside, "sh", "-ec", script, user=user, env=self.env, stdin=typed)

    def sees(
        self,
        name: str,
        level: str,
        said: str,
        break_it: Callable[[], object],
        *,
        edit: Callable[[], object] | None = None,
        typed: str | None = None,
    ) -> str:
        """Only that line changes, and its command mends it. edit: where it asks for one."""
        before = self.healthy = self.healthy or self.doctor()
        assert name not in before or before[name][0] == "ok", before[name]
        break_it()
        broken = self.doctor()
        assert broken[name][0] == level, broken
        assert said in broken[name][1], broken[name]
        changed = {key for key, line in broken.items() if key in before and line[0] != before[key][0]}
        assert changed <= {name}, broken
        told = broken[name][2]
        assert told is not None
        if edit is None:
            self.paste(command_in(told), typed)
        else:
            edit()
        after = self.doctor()
        whole = {key: line[0] for key, line in before.items()} | ({name: "ok"} if name in after else {})
        assert {key: line[0] for key, line in after.items()} == whole
        return told


def _tidy(host: Host) -> None:
    """What the machine below the overlay may have of itself."""
    host.run(
        "sh",
        "-c",
        "rm -rf /var/lib/dify-job; mkdir -p /run/systemd/timesync; touch /run/systemd/timesync/synchronized",
    )


def archive(ward: Ward, package: str, fill: str, directory: str) -> None:
    """An archive with one package, for the host's own apt. fill: makes its files, below directory."""
    place = f"/srv/archive/{package}"
    control = f"Package: {package}\nVersion: 9999\nArchitecture: all\nMaintainer: t\nDescription: t\n"
    ward.host.machine.write(f"{place}/t/DEBIAN/control", control)
    ward.host.run("sh", "-ec", (
        f"mkdir -p {place}/t/{directory} {place}/lists/partial; cd {place}/t; {fill}; cd ..; "
        f"dpkg-deb --root-owner-group -Znone --build t t.deb; "
        f"{{ cat t/DEBIAN/control; echo Filename: ./t.deb; echo Size: $(stat -c %s t.deb); "
        f"echo SHA256: $(sha256sum t.deb | cut -c-64); }} > Packages; rm -r t; "
        f"echo 'deb [trusted=yes] file:{place} ./' > sources.list"
    ))  # fmt: skip
    ward.host.machine.write(f"{place}/apt.conf", (
        f'Dir::Etc::SourceList "{place}/sources.list"; Dir::Etc::SourceParts "/dev/null"; '
        f'Dir::State::Lists "{place}/lists"; APT::Get::Assume-Yes "true"; APT::Sandbox::User "root";\n'
    ))  # fmt: skip
    ward.env |= {"APT_CONFIG": f"{place}/apt.conf", "DEBIAN_FRONTEND": "noninteractive"}
    ward.host.run("apt-get", "update", env=ward.env)


@pytest.fixture
def ward(host: Host) -> Ward:
    _tidy(host)
    host.job('every = "1h"')
    host("install")
    return Ward(host)


@pytest.fixture
def by_cron(host: Host) -> Ward:
    _tidy(host)
    host.machine.write("/usr/sbin/sendmail", "#!/bin/sh\ncat >/dev/null\n", 0o755)
    host.job('every = "1h"')
    host("install", "--backend", "cron")
    return Ward(host)


def test_healthy_job_passes_every_check_and_starts_no_run(ward: Ward) -> None:
    lines = ward.doctor()
    assert {name: line for name, line in lines.items() if line[0] != "ok"} == {}
    assert list(lines) == [
        "config", "key", "tls", "server", "access", "app", "inputs", "schedule", "zone", "backend", "units",
        "override", "armed", "interpreter", "reach", "bytecode", "clock", "journal", "state", "disk",
        "last-run",
    ]  # fmt: skip
    assert lines["key"][1] == "/etc/dify-job/credentials/daily.key (mode 0600, root)"
    assert ward.host("doctor").code == 0
    assert {one.method for one in ward.host.server.received} == {"GET"}


# The files


def test_missing_units(ward: Ward) -> None:
    ward.sees("units", "warn", "not installed", ward.sh("dify-job uninstall daily"))
    ward.sees("units", "fail", f"{TIMER} is missing", ward.sh(f"rm /etc/systemd/system/{TIMER}"))


def test_state_directory_in_place_of_the_link_of_systemd(ward: Ward) -> None:
    ward.sh(f"systemctl start {SERVICE}")()
    ward.sees(
        "state",
        "fail",
        "are both there",
        ward.sh("rm /var/lib/dify-job/daily; mkdir /var/lib/dify-job/daily"),
    )
    ward.sh(f"systemctl start {SERVICE}")()


def test_masked_timer(ward: Ward) -> None:
    ward.sees(
        "units",
        "fail",
        f"{TIMER} is masked by the administrator",
        ward.sh(f"rm /etc/systemd/system/{TIMER}; systemctl mask {TIMER}"),
    )


def test_units_changed_by_hand_by_an_upgrade_or_by_the_config(ward: Ward) -> None:
    edit = f"sed -i s/TimeoutStopSec=45s/TimeoutStopSec=50s/ /etc/systemd/system/{SERVICE}"
    told = ward.sees("units", "warn", "edited by hand", ward.sh(f"{edit}; systemctl daemon-reload"))
    assert "--diff in its place shows the edits" in told
    ward.sees("units", "warn", "changed on disk", ward.sh(f"sleep 1; touch /etc/systemd/system/{SERVICE}"))
    change = ward.sh("sed -i 's/^every.*/every = \"2h\"/' /etc/dify-job/config.toml")
    assert ward.sees("units", "warn", "has changed since", change) == "dify-job install daily"
    template = f"{ward.site}/dify_job/deploy/systemd/job.timer.j2"
    upgrade = ward.sh(f"cp {template} /root/t; echo '# new' >> {template}")
    ward.sees("units", "warn", "another version", upgrade)
    ward.host.run("mv", "/root/t", template)


def test_unit_that_systemd_does_not_load(ward: Ward) -> None:
    place = f"/etc/systemd/system/{SERVICE}.d"
    ward.sees(
        "units",
        "fail",
        f"systemd does not load {SERVICE}: bad-setting",
        ward.sh(
            f"mkdir {place}; printf '[Service]\\nExecStart=\\n' > {place}/x.conf; systemctl daemon-reload"
        ),
    )
    ward.host.run("rmdir", place)


def test_drop_in_is_reported_by_the_settings_it_changes(ward: Ward) -> None:
    for unit, text, said in (
        (SERVICE, "[Service]\\nExecStart=\\nExecStart=/bin/true\\n", "ExecStart= is '/bin/true'"),
        (SERVICE, "[Unit]\\nConditionPathExists=/nowhere\\n", "ConditionPathExists= can keep it"),
        (TIMER, "[Timer]\\nOnCalendar=03:00\\n", "OnCalendar adds to the schedule"),
    ):
        place = f"/etc/systemd/system/{unit}.d"
        put = f"mkdir -p {place}; printf '{text}' > {place}/x.conf; systemctl daemon-reload"
        ward.sees("override", "warn", said, ward.sh(put))
    harmless = "[Unit]\\nOnFailure=x.service\\n[Service]\\nNice=5\\n"
    place = f"/etc/systemd/system/{SERVICE}.d"
    ward.host.run("sh", "-ec", f"printf '{harmless}' > {place}/x.conf; systemctl daemon-reload")
    assert ward.doctor()["override"][:2] == ("ok", f"{place}/x.conf: nothing that the job relies on")
    ward.host.run("rm", "-r", place, f"/etc/systemd/system/{TIMER}.d")


def test_timer_that_is_paused_disabled_or_stopped(ward: Ward) -> None:
    ward.sees("armed", "warn", "paused", ward.sh("dify-job pause daily"))
    ward.sees("armed", "warn", "paused", ward.sh(f"systemctl stop {TIMER}"))
    ward.sees("armed", "warn", "until the next boot only", ward.sh(f"systemctl disable {TIMER}"))


# What is started


def test_interpreter_that_is_gone_or_has_no_dify_job(ward: Ward) -> None:
    """The job was installed from a virtual environment that was removed, or rebuilt without dify-job."""
    other = "/opt/other/bin/python"
    venv = "/opt/dify-job/bin/python -m venv --without-pip /opt/other"
    link = f"ln -s {ward.site}/* /opt/other/lib/python3*/site-packages/"
    ward.host.run("sh", "-ec", f"{venv}; {link}")
    installed = f"{other} -P -m dify_job install daily"
    ward.host.run("sh", "-ec", installed)
    level, said, _ = ward.doctor()["interpreter"]
    assert (level, said.startswith(f"{other}, dify-job ")) == ("ok", True)
    ward.sees(
        "interpreter",
        "fail",
        f"{other} has no dify-job",
        ward.sh("rm /opt/other/lib/python3*/site-packages/dify_job"),
    )
    ward.host.run(
        "sh", "-ec", f"ln -s {ward.site}/dify_job /opt/other/lib/python3*/site-packages/; {installed}"
    )
    assert ward.host.status("daily")["sync"] == "as configured"  # it is not the config that has changed
    told = ward.sees("interpreter", "fail", f"{other} is gone", ward.sh("rm -r /opt/other"))
    assert told.startswith("dify-job install daily")


def test_code_that_the_service_user_cannot_read(ward: Ward) -> None:
    ward.sees("reach", "fail", "cannot reach", ward.sh("chmod 700 /opt/dify-job"))
    shut = ward.sh("chmod 600 /etc/dify-job/config.toml")
    ward.sees("reach", "fail", "cannot reach the configuration", shut)


def test_code_that_every_run_would_compile(ward: Ward) -> None:
    delete = ward.sh(f"find {ward.site}/click -name '*.pyc' -delete")
    told = ward.sees("bytecode", "warn", "are not compiled", delete)
    assert told.endswith(f" -m compileall -q {ward.site}/click")


def test_run_that_systemd_could_not_start(ward: Ward) -> None:
    key = "/etc/dify-job/credentials/daily.key"
    ward.host.run("sh", "-c", f"rm {key}; systemctl start {SERVICE}", check=False)
    lines = ward.doctor()
    assert lines["key"][:1] == ("fail",)
    level, said, mend = lines["last-run"]
    assert (level, mend) == ("warn", "dify-job secret set daily")
    assert "status 243/CREDENTIALS" in said
    ward.paste(command_in(mend), CANARY)
    ward.host.run("systemctl", "start", SERVICE)
    assert {line[0] for line in ward.doctor().values()} == {"ok"}


def test_run_that_was_killed(ward: Ward) -> None:
    ward.host.job('every = "1h"', key="app-slow")
    ward.host.run("systemctl", "start", "--no-block", SERVICE)
    ward.host.wait(lambda: ward.host.server.runs)
    ward.host.run("systemctl", "kill", "--signal=KILL", SERVICE)
    ward.host.wait(lambda: ward.host.show(SERVICE, "ActiveState") == "failed")
    lines = ward.doctor()
    assert lines["last-run"][0] == "warn"
    assert "killed by SIGKILL" in lines["last-run"][1]
    assert lines["in-flight"][0] == "warn"
    ward.host.job('every = "1h"')
    assert ward.host("run", "daily", check=False).code == 75, "the earlier run may still be in the queue"
    assert ward.doctor()["in-flight"][0] == "warn"


def test_run_as_user_that_is_gone(host: Host) -> None:
    _tidy(host)
    host.run("useradd", "--system", "reports")
    host.job('every = "1h"\nrun_as = "reports"')
    host("install")
    ward = Ward(host)
    gone = ward.sh("userdel reports")
    told = ward.sees("run-as", "fail", "run_as names reports, who is no user here", gone)
    assert command_in(told) == "useradd --system reports"
    assert told.endswith("(or edit run_as in /etc/dify-job/config.toml:6)")
    host.run("install", "-d", "/srv/out/daily")
    host.job('every = "1h"\nrun_as = "reports"\noutput = { file = "/srv/out/daily/r.json" }\n'
             'files = { text = "/srv/out/in.txt" }')  # fmt: skip
    host.run("sh", "-ec", "echo x > /srv/out/in.txt; chown reports /srv/out/daily; chmod 750 /srv/out/daily")
    host("install")
    ward.healthy = None
    lines = ward.doctor()
    assert lines["output"][0] == "ok", lines
    ward.sees("output", "fail", "reports cannot write", ward.sh("chown root /srv/out/daily"))
    host.run("userdel", "reports")


def test_variable_that_only_the_shell_of_the_caller_has(ward: Ward) -> None:
    place = f"/etc/systemd/system/{SERVICE}.d"
    region = 'env = ["REGION"]'

    def wants_it() -> None:
        ward.host.job(f'every = "1h"\n{region}')
        ward.host("install")

    ward.env["REGION"] = value = r"""50% "south\n" & 'so' X=$on/|\\"""
    ward.sees("environment", "warn", "REGION", wants_it)
    ward.host.job(f"""every = "1h"\n{region}\ninputs = {{ where = "{{{{ env('REGION') }}}}" }}""")
    ward.host.run("systemctl", "start", SERVICE)
    [run] = ward.host.server.runs
    assert run.inputs["where"] == value
    ward.host.job('every = "1h"\nenv = ["REGION", "X"]')
    level, said, _ = ward.doctor()["environment"]
    assert (level, said.partition(":")[0]) == ("warn", "X"), "it is a part of the value, and no variable"
    wants_it()
    ward.host.run("sh", "-ec", f"rm {place}/environment.conf; systemctl daemon-reload")
    ward.env["REGION"] = "two\nlines"
    assert str(ward.doctor()["environment"][2]).startswith("systemctl edit "), "sed would make two of it"
    del ward.env["REGION"]
    editor = '#!/bin/sh\nprintf \'[Service]\\nEnvironment="A=b c" REGION=south\\n\' > "$1"\n'
    ward.host.machine.write("/root/editor", editor, 0o755)
    ward.host.run("systemctl", "daemon-reload")
    level, _, mend = ward.doctor()["environment"]
    assert (level, mend) == ("warn", f"systemctl edit {SERVICE} ([Service] Environment=REGION=...)")
    terminal = f'script -qec "{command_in(mend)}" /dev/null'
    ward.host.run("sh", "-ec", terminal, env={"SYSTEMD_EDITOR": "/root/editor", "TERM": "dumb"})
    lines = ward.doctor()
    ward.host.run("rm", "-r", place)
    assert (lines["environment"][0], lines["override"][0]) == ("ok", "ok")


# The machine


def test_unsynchronised_clock(ward: Ward) -> None:
    # The clock is the kernel's, which a container shares with its host: what it says is put in its place.
    mark, tool = "/run/systemd/timesync/synchronized", "/opt/dify-job/bin/timedatectl"
    ward.host.machine.write(
        tool, f'#!/bin/sh\n[ "$1 $2" = "set-ntp true" ] && exec touch {mark}\necho no\n', 0o755
    )
    ward.sees("clock", "warn", "not synchronised", ward.sh(f"rm {mark}"))
    ward.host.run("rm", tool)


def test_full_disk(ward: Ward) -> None:
    mount = "mkdir -p /var/lib/dify-job; mount -t tmpfs -o size={}M tmpfs /var/lib/dify-job"
    free = ward.sh("umount /var/lib/dify-job")
    for size, level in ((1, "fail"), (50, "warn")):
        told = ward.sees("disk", level, "MB free", ward.sh(mount.format(size)), edit=free)
        ward.paste(command_in(told))  # it shows what is full; what to throw away is a person's to say


def test_state_on_a_read_only_mount(ward: Ward) -> None:
    mount = "mkdir -p /var/lib/dify-job; mount -t tmpfs -o ro tmpfs /var/lib/dify-job"
    ward.sees("state", "fail", "is on a file system that is mounted read-only", ward.sh(mount))
    ward.host.run("umount", "/var/lib/dify-job")


def test_zone_data_that_systemd_lacks(ward: Ward) -> None:
    """Without it Python has none either, unless from a package of its own."""
    ward.host.job('calendar = "07:00"\ntimezone = "Asia/Kolkata"')
    ward.host("install")
    ward.env["PYTHONTZPATH"] = "/opt/zones"
    ward.host.run("cp", "-r", "/usr/share/zoneinfo", "/opt/zones")
    archive(ward, "tzdata", "cp -r /opt/zones usr/share/zoneinfo", "usr/share")
    remove = ward.sh("rm /usr/share/zoneinfo/Asia/Kolkata")
    ward.sees("zone", "fail", "/usr/share/zoneinfo has no Asia/Kolkata", remove)
    ward.host.run("rm", "/usr/share/zoneinfo/Asia/Kolkata")
    del ward.env["PYTHONTZPATH"]
    [(name, (level, said, mend))] = ward.doctor().items()
    assert (name, level) == ("config", "fail")
    assert "Asia/Kolkata" in said
    ward.paste("apt-get install --reinstall tzdata")
    assert mend
    assert ward.doctor()["zone"][0] == "ok"


def test_dangling_localtime(ward: Ward) -> None:
    ward.host.run("sh", "-c", "cp -P /etc/localtime /root/localtime", check=False)
    astray = ward.sh("ln -sfn /usr/share/zoneinfo/No/Where /etc/localtime")
    told = ward.sees("zone", "warn", "which is not there: the clock is UTC", astray)
    assert told == "timedatectl set-timezone UTC (or the zone that is meant)"
    ward.inside = WITHOUT_SYSTEMD
    astray()
    assert (
        ward.doctor()["zone"][2]
        == "ln -sfn /usr/share/zoneinfo/UTC /etc/localtime (or the zone that is meant)"
    )
    ward.paste(command_in(ward.doctor()["zone"][2]))
    assert ward.doctor()["zone"][0] == "ok"
    ward.host.run("sh", "-c", "rm /etc/localtime; mv /root/localtime /etc/localtime 2>/dev/null || true")


def test_scope_option_selects_the_job(ward: Ward) -> None:
    ward.flags = ("--config", "/etc/dify-job/config.toml")
    asked = {}
    for flag in ("--system", "--user"):
        ran = ward.host(*ward.flags, "doctor", "daily", "--json", flag, check=False)
        [job] = json.loads(ran.stdout)["jobs"]
        asked[flag] = {line["check"]: line["level"] for line in job["checks"]}
    assert asked["--system"]["armed"] == "ok"
    assert asked["--user"]["units"] == "warn"
    by_cron = ward.host("doctor", "daily", "--backend", "cron", "--json", check=False)
    [line] = [line for line in json.loads(by_cron.stdout)["jobs"][0]["checks"] if line["check"] == "units"]
    assert line["level"] != "ok"
    assert line["fix"] == "dify-job install daily --backend cron"


def test_history_of_another_user_is_not_read_and_the_hint_shows_it(ward: Ward) -> None:
    ward.host.run("systemctl", "start", SERVICE)
    refused = ward.host("history", "daily", user="mallory", check=False)
    assert refused.code == 77
    assert "permission denied" in refused.stderr
    command = refused.stderr.splitlines()[-1].strip()
    assert command == "sudo dify-job history daily --system"
    told = ward.host.run("sh", "-ec", command.removeprefix("sudo ")).stdout
    assert "succeeded" in told


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
    host.job('every = "1h"\nrun_as = "root"')
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
    assert lines["interpreter"]["message"] == "permission denied: /root/d/v/bin/python"
    assert lines["interpreter"]["fix"] == "sudo dify-job doctor daily"
    host("uninstall", "daily")
    host.run("rm", "-r", "/root/d")


def test_unprivileged_doctor_names_the_checks_that_need_sudo(ward: Ward) -> None:
    other = Ward(ward.host, "mallory")
    ward.host.run("rm", "-rf", "/var/lib/dify-job", "/var/lib/private/dify-job")
    assert other.doctor()["state"][:2] == ("ok", "/var/lib/dify-job/daily will be created on the first run")
    ward.host("run", "daily")
    lines = other.doctor()
    told = ward.host("status", user="mallory").stdout
    assert told.endswith("insufficient permission to read some results; use: sudo dify-job status\n")
    assert lines["last-run"][1] == lines["state"][1] == "permission denied: /var/lib/dify-job/daily"
    assert lines["key"][0] == "warn"
    assert lines["key"][2] == "sudo dify-job doctor daily"
    assert lines["journal"][0] == "warn"
    assert {line[0] for name, line in lines.items() if name not in ("key", "journal")} == {"ok"}, lines
    other.paste(command_in(lines["journal"][2]))
    assert other.doctor()["journal"][0] == "ok"
    ward.host.run("gpasswd", "-d", "mallory", "systemd-journal")


# cron


def test_stopped_cron_daemon(by_cron: Ward) -> None:
    lines = by_cron.doctor()
    assert {name: line for name, line in lines.items() if line[0] != "ok"} == {}
    by_cron.sees("backend", "fail", "does not run", by_cron.sh("systemctl stop cron"))


def test_cron_file_that_cron_ignores_or_that_was_changed(by_cron: Ward) -> None:
    file = "/etc/cron.d/dify-job-daily"
    by_cron.sees("units", "fail", "cron passes over", by_cron.sh(f"chmod 664 {file}"))
    by_cron.sees("units", "warn", "edited by hand", by_cron.sh(f"sed -i 's/^0 /1 /' {file}"))
    by_cron.sees("armed", "warn", "paused", by_cron.sh("dify-job pause daily"))


def test_host_without_a_mailer_under_cron(by_cron: Ward) -> None:
    archive(by_cron, "msmtp-mta", "install -m 755 /bin/cat usr/sbin/sendmail", "usr/sbin")
    by_cron.sees("mail", "warn", "no mailer", by_cron.sh("rm /usr/sbin/sendmail"))
    by_cron.host.run("dpkg", "--purge", "msmtp-mta")


def test_job_installed_in_two_schedulers(by_cron: Ward) -> None:
    by_cron.host.run(
        "sh", "-c", "cp /etc/cron.d/dify-job-daily /root/; dify-job uninstall daily; dify-job install daily"
    )
    told = by_cron.sees(
        "units", "fail", "it runs twice", by_cron.sh("cp /root/dify-job-daily /etc/cron.d/dify-job-daily")
    )
    assert told == "dify-job uninstall daily --backend cron --system"


# A user's own


def test_user_job_without_lingering(alice: Login) -> None:  # noqa: F811
    alice.configure()
    alice("install", "--env-file", ".env", "--every", "2h")

    def doctor() -> Lines:
        [job] = json.loads(alice("doctor", "default", "--json", check=False).stdout)["jobs"]
        return {line["check"]: (line["level"], line["message"], line["fix"]) for line in job["checks"]}

    before = doctor()
    assert {name for name, line in before.items() if line[0] != "ok"} <= {"clock"}, before
    assert "linger" in before
    root = Ward(alice.host).paste

    def mends(name: str, level: str) -> None:
        line = doctor()[name]
        assert line[0] == level, line
        command = command_in(line[2])
        assert command.startswith("sudo ")
        root(command)
        assert doctor()[name][0] == "ok"

    alice.host.run("loginctl", "disable-linger", "alice")
    alice.host.run("systemctl", "start", f"user@{alice.uid}.service")  # as in a login
    mends("linger", "warn")
    alice.host.run("loginctl", "disable-linger", "alice")
    alice.host.run("systemctl", "stop", f"user@{alice.uid}.service")
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
    mends("state", "fail")
    alice.host.run("chown", "-R", "alice", "/home/alice/.local/state")
    assert doctor()["state"][0] == "ok"
