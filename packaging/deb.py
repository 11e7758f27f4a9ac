"""Build the .deb of this checkout: a virtual environment under /opt, for Python 3.11 to 3.14.

The package contains only Python code, without the optional C parts of libraries, so that it works on every
architecture and Debian release.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_HOME = "opt/dify-job"
_PYTHONS = range(11, 15)  # 3.11 to 3.14; dpkg refuses newer ones, instead of failing runs
_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/dify-job",
    "zsh": "usr/share/zsh/vendor-completions/_dify-job",
    "fish": "usr/share/fish/vendor_completions.d/dify-job.fish",
}
_COMMAND = """\
#!/opt/dify-job/bin/python
from dify_job.__main__ import main

main()
"""


def main(wheel: Path, output: Path, version: str | None = None) -> Path:
    version = version or wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory(prefix="dify-job-deb-") as scratch:
        tree = Path(scratch, "tree")
        _environment(tree / _HOME, wheel)
        _manual(tree, wheel)
        _complete(tree)
        _systemd(tree, wheel)
        _documents(tree)
        (tree / "etc/dify-job/credentials").mkdir(parents=True)
        _control(tree, version)
        for path in [tree, *tree.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        (tree / "etc/dify-job/credentials").chmod(0o700)
        package = output / f"dify-job_{version}_all.deb"
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(package)]
        subprocess.run(command, check=True)
    return package


def _environment(home: Path, wheel: Path) -> None:
    site = home / "lib/python3/site-packages"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True)
    for unneeded in (*site.rglob("*.so"), *site.glob("*.dist-info/direct_url.json")):
        unneeded.unlink()
    for unused in ("bin", "share"):
        shutil.rmtree(site / unused, ignore_errors=True)
    for minor in _PYTHONS:
        (home / f"lib/python3.{minor}").symlink_to("python3")
    (home / "bin").mkdir()
    (home / "bin/python").symlink_to("/usr/bin/python3")
    (home / "bin/dify-job").write_text(_COMMAND)
    (home / "bin/dify-job").chmod(0o755)
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    command = home.parents[1] / "usr/bin/dify-job"
    command.parent.mkdir(parents=True)
    command.symlink_to(f"/{_HOME}/bin/dify-job")


def _manual(tree: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if found := re.search(r"share/man/(man\d)/([^/]+)$", name):
                _gzip(tree / f"usr/share/man/{found[1]}/{found[2]}.gz", archive.read(name))


def _complete(tree: Path) -> None:
    for shell, place in _COMPLETIONS.items():
        code = "from dify_job.cli.main import main; main([])"
        env = {"_DIFY_JOB_COMPLETE": f"{shell}_source", "PATH": os.environ["PATH"]}
        site = tree / _HOME / "lib/python3/site-packages"
        command = [sys.executable, "-B", "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}"]
        done = subprocess.run(command, check=True, capture_output=True, env=env)
        _put(tree / place, done.stdout)


def _systemd(tree: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            kind = {"service": "system", "catalog": "catalog"}.get(name.rpartition(".")[2])
            if name.startswith("dify_job/deploy/systemd/") and kind:
                _put(tree / "usr/lib/systemd" / kind / Path(name).name, archive.read(name))


def _documents(tree: Path) -> None:
    place = tree / "usr/share/doc/dify-job"
    for path in (*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md"), _ROOT / "bench/RESULTS.md"):
        _put(place / path.relative_to(_ROOT), path.read_bytes())
    _put(place / "copyright", (_ROOT / "LICENSE").read_bytes())
    _gzip(place / "changelog.gz", (_ROOT / "CHANGELOG.md").read_bytes())


def _control(tree: Path, version: str) -> None:
    size = sum(path.lstat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
    values = {"version": version, "size": size, "oldest": _PYTHONS.start, "too_new": _PYTHONS.stop}
    for path in (_ROOT / "packaging/debian").iterdir():
        text = path.read_text()
        target = tree / "DEBIAN" / path.name
        _put(target, (text.format(**values) if path.name == "control" else text).encode())
        target.chmod(0o755 if text.startswith("#!") else 0o644)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _gzip(path: Path, content: bytes) -> None:
    _put(path, gzip.compress(content, mtime=0))


def build(output: Path) -> Path:
    """Build the wheel of this checkout, and a .deb of it.

    Args:
        output: Directory of the .deb.

    Returns:
        Path of the .deb.
    """
    output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dify-job-wheel-") as scratch:
        command = [sys.executable, str(_ROOT / "packaging/build.py"), str(_ROOT), scratch]
        subprocess.run(command, check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        return main(wheel, output)


if __name__ == "__main__":
    print(build(_ROOT / "dist"))
