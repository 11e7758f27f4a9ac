"""File system of a test host: programs of the machine that it boots on, and no configuration.

The lower layer of the host's root is the machine's own root. /etc, /home and the like start empty and are
filled from the lists below. The package database is reduced to PACKAGES and their dependencies; units of all
other packages are hidden. So every host is the same, whatever the machine has: a mail agent, timers, masked
units, users, a time zone. Nothing is written through a symlink of the machine.
"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# Packages that tests/matrix installs, and those of a minimal Debian.
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "libnss-systemd", "cron",
    "python3", "python3-venv", "procps", "ca-certificates", "tzdata", "curl", "man-db", "passwd", "login",
    "util-linux", "mount", "apt", "dpkg", "base-files", "base-passwd", "bash", "coreutils", "grep", "sed",
    "sysvinit-utils", "init-system-helpers", "libc-bin", "adduser", "udev", "iproute2", "kmod",
)  # fmt: skip
_PROGRAMS = {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "var"}  # of /, unchanged
_EMPTY = (
    "etc",
    "home",
    "root",
    "srv",
    "opt",
    "tmp",
    "mnt",
    "media",
    "run",
    "proc",
    "sys",
    "dev",
    "usr/local",
)
_PACKAGE_DATA = {"dpkg", "apt", "ucf", "pam", "python"}  # of /var/lib
_FROM_ETC = (
    "adduser.conf", "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "dbus-1",
    "debconf.conf", "debian_version", "deluser.conf", "dpkg", "host.conf", "gai.conf", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "login.defs", "manpath.config", "networks", "pam.conf", "pam.d",
    "profile", "protocols", "python3*", "rpc", "security", "services", "shells", "skel", "ssl/certs",
    "ssl/openssl.cnf", "udev", "default/cron", "default/useradd", "init.d/cron",
)  # fmt: skip
_WRITTEN = {
    "etc/machine-id": "uninitialized\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": (
        "passwd: files systemd\ngroup: files systemd\nshadow: files\ngshadow: files\nhosts: files dns\n"
        "networks: files\nprotocols: files\nservices: files\n"
    ),
    "etc/crontab": "SHELL=/bin/sh\nPATH=/usr/local/sbin:/usr/local/bin:/sbin:/bin:/usr/sbin:/usr/bin\n",
    # At the first boot systemd enables units by the presets.
    "etc/systemd/system-preset/00-host.preset": "enable cron.service\ndisable *\n",
    "etc/systemd/user-preset/00-host.preset": "disable *\n",
}
_LINKS = {
    "etc/os-release": "../usr/lib/os-release",
    "etc/mtab": "../proc/self/mounts",
    "etc/localtime": "../usr/share/zoneinfo/Etc/UTC",
}
_MASKED = ("systemd-networkd-wait-online.service", "systemd-firstboot.service")
_MAIL = ("usr/sbin/sendmail", "usr/bin/sendmail", "usr/lib/sendmail", "usr/bin/mailq")
_UNITS = (
    "usr/lib/systemd/system", "usr/lib/systemd/user", "usr/lib/systemd/system-generators",
    "usr/lib/systemd/user-generators", "usr/lib/systemd/system-preset", "usr/lib/systemd/user-preset",
    "usr/lib/systemd/system-environment-generators", "usr/lib/systemd/user-environment-generators",
    "usr/lib/tmpfiles.d", "usr/lib/sysusers.d", "usr/lib/sysctl.d", "usr/share/dbus-1/system-services",
    "usr/share/dbus-1/system.d", "usr/share/dbus-1/services",
)  # fmt: skip
_DIRECTORIES = {
    "tmp": 0o1777,
    "root": 0o700,
    **dict.fromkeys(("etc/cron.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d"), 0o755),
    **dict.fromkeys(("usr/local/bin", "usr/local/sbin", "usr/local/lib", "usr/local/share/man"), 0o755),
    "var/tmp": 0o1777,
    "var/log": 0o755,
    "var/log/journal": 0o2755,  # journald then stores a file per user, which the user can read
    "var/mail": 0o2775,
    "var/cache/apt/archives/partial": 0o755,
    "var/spool/cron/crontabs": 0o1730,
}
_FIRST_HUMAN_UID = 1000


def prepare(lower: Path, upper: Path) -> None:
    """Hide the machine's own files in the upper layer of an overlay that is not mounted yet."""
    for name in _EMPTY:
        (upper / name).mkdir(parents=True)
        os.setxattr(upper / name, "trusted.overlay.opaque", b"y")  # overlayfs.rst
    if has_python_of_matrix(lower):
        (upper / "opt").rmdir()
        _hide_all_but(lower, upper, Path("opt"), {"python"})
    _hide_all_but(lower, upper, Path(), _PROGRAMS)
    _hide_all_but(lower, upper, Path("var"), {"lib"})
    _hide_all_but(lower, upper, Path("var/lib"), _PACKAGE_DATA)


def has_python_of_matrix(lower: Path) -> bool:
    """True for an old root, into which tests/matrix has put a newer Python."""
    return lower != Path("/") and (lower / "opt/python").is_dir()


def fill(lower: Path, root: Path) -> None:
    """Create the host's configuration in the mounted overlay."""
    for name, mode in _DIRECTORIES.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    _fill_etc(lower, root)
    groups = dict(re.findall(r"^([\w-]+):[^:]*:(\d+):", (root / "etc/group").read_text(), re.MULTILINE))
    for name, group in (("var/spool/cron/crontabs", "crontab"), ("var/log/journal", "systemd-journal")):
        os.chown(root / name, 0, int(groups.get(group, 0)))
        (root / name).chmod(_DIRECTORIES[name])
    _hide_units(lower, root, _reduce_packages(lower, root))
    for name in _MAIL:
        (root / name).unlink(missing_ok=True)


def _hide_all_but(lower: Path, upper: Path, place: Path, visible: set[str]) -> None:
    (upper / place).mkdir(exist_ok=True)
    for entry in (lower / place).iterdir():
        if entry.name not in visible and str(place / entry.name) not in _EMPTY:
            os.mknod(upper / place / entry.name, stat.S_IFCHR, os.makedev(0, 0))  # a whiteout (overlayfs.rst)


def _fill_etc(lower: Path, root: Path) -> None:
    for pattern in _FROM_ETC:
        for found in (lower / "etc").glob(pattern):
            target = root / found.relative_to(lower)
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", "--", str(found), str(target)], check=True)
    for name, text in _WRITTEN.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, to in _LINKS.items():
        (root / name).symlink_to(to)
    system = root / "etc/systemd/system"
    system.mkdir(parents=True, exist_ok=True)
    for unit in _MASKED:
        (system / unit).symlink_to("/dev/null")
    _write_accounts(lower, root)


def _write_accounts(lower: Path, root: Path) -> None:
    """Write the accounts of packages with the machine's IDs, which files in /usr have; no human users."""
    users = _accounts(lower / "etc/passwd", 7)
    groups = _accounts(lower / "etc/group", 4)
    for user in users:
        if user[0] == "root":
            user[5:] = ["/root", "/bin/bash"]
    etc = root / "etc"
    (etc / "passwd").write_text("".join(":".join([name, "x", *rest]) + "\n" for name, _, *rest in users))
    (etc / "group").write_text("".join(f"{name}:x:{number}:\n" for name, _, number, _ in groups))
    (etc / "shadow").write_text("".join(f"{user[0]}:*:19000:0:99999:7:::\n" for user in users))
    (etc / "gshadow").write_text("".join(f"{group[0]}:*::\n" for group in groups))
    for name in ("shadow", "gshadow"):
        (etc / name).chmod(0o640)


def _accounts(file: Path, fields: int) -> list[list[str]]:
    lines = (line.split(":") for line in file.read_text().splitlines())
    return [line for line in lines if len(line) == fields and _is_of_a_package(line)]


def _is_of_a_package(account: list[str]) -> bool:
    return int(account[2]) < _FIRST_HUMAN_UID or account[0] in ("nobody", "nogroup")


# The packages


def _reduce_packages(lower: Path, root: Path) -> set[str]:
    """Write a package database of PACKAGES and their dependencies.

    Returns:
        The names of its packages; empty where the machine has no dpkg.
    """
    status = lower / "var/lib/dpkg/status"
    if not status.exists():
        return set()
    stanzas = {}
    for stanza in status.read_text().strip().split("\n\n"):
        fields = dict(re.findall(r"(?m)^([A-Za-z-]+): *(.*)$", stanza))
        if fields["Status"].endswith(" installed"):
            stanzas[fields["Package"]] = (stanza, fields)
    packages = _closure({name: fields for name, (_, fields) in stanzas.items()})
    text = "".join(f"{stanzas[name][0]}\n\n" for name in stanzas if name in packages)
    (root / "var/lib/dpkg/status").write_text(text)
    return packages


def _closure(installed: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return PACKAGES, essential packages and their dependencies, as far as they are installed."""
    provided: dict[str, list[str]] = {}
    for name, fields in installed.items():
        for each in _names(fields.get("Provides", "")):
            provided.setdefault(each, []).append(name)
    packages = set[str]()
    wanted = [name for name in installed if name in PACKAGES or installed[name].get("Essential") == "yes"]
    while wanted:
        name = wanted.pop()
        if name in packages:
            continue
        packages.add(name)
        for field in ("Depends", "Pre-Depends"):
            for clause in installed[name].get(field, "").split(","):
                choices = list(_names(clause.replace("|", ",")))
                available = [one for one in choices if one in installed]
                available = available or [one for each in choices for one in provided.get(each, ())]
                wanted += available[:1]
    return packages


def _names(relations: str) -> Iterator[str]:
    for part in relations.split(","):
        if found := re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", part):
            yield found[1]


def _hide_units(lower: Path, root: Path, packages: set[str]) -> None:
    """Hide units, generators, presets and the like of all packages but `packages`."""
    if not packages:
        return
    known = set(_files_of(lower, packages))
    for place in _UNITS:
        for directory, directories, files in os.walk(lower / place):
            for name in [*files, *(each for each in directories if (Path(directory) / each).is_symlink())]:
                path = (Path(directory) / name).relative_to(lower)
                if str(path) not in known:
                    (root / path).unlink()


def _files_of(lower: Path, packages: Iterable[str]) -> Iterator[str]:
    for name in packages:
        for listed in (lower / "var/lib/dpkg/info").glob(f"{name}*.list"):
            if listed.name.removesuffix(".list").partition(":")[0] == name:
                for line in listed.read_text().splitlines():
                    yield re.sub(r"^(?=(bin|sbin|lib)/)", "usr/", line.removeprefix("/"))


def discard(directory: Path) -> None:
    """Unmount and remove the layers."""
    for path in (directory / "root", directory):
        subprocess.run(["umount", "-R", "-l", str(path)], capture_output=True, check=False)
    shutil.rmtree(directory, ignore_errors=True)
