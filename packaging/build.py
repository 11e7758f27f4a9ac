"""Build wheel and sdist reproducibly: independent of date, user, umask and directory order.

usage: build.py [SOURCE [OUTPUT]]. All times are SOURCE_DATE_EPOCH
(https://reproducible-builds.org/specs/source-date-epoch/), by default the time of the last commit.
"""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_ZIP_BEGINS = 315532800  # 1980, the earliest time in a zip file


def main(source: Path, output: Path) -> None:
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _last_commit(source))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(source)]
    subprocess.run(command, check=True, env=os.environ | {"SOURCE_DATE_EPOCH": str(epoch)})
    for sdist in output.glob("dify_job-*.tar.gz"):
        _pack_sdist(sdist, epoch)
    for wheel in output.glob("dify_job-*.whl"):
        _pack_wheel(wheel, epoch)


def _last_commit(source: Path) -> str:
    command = ["git", "-C", str(source), "log", "-1", "--format=%ct"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _pack_sdist(path: Path, epoch: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            clean = tarfile.TarInfo(member.name)
            clean.type, clean.size, clean.mtime = member.type, member.size, epoch
            clean.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(clean, old.extractfile(member) if member.isfile() else None)
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=0))


def _pack_wheel(path: Path, epoch: int) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for member in sorted(old.infolist(), key=lambda member: member.filename):
            clean = zipfile.ZipInfo(member.filename, time.gmtime(max(epoch, _ZIP_BEGINS))[:6])
            clean.external_attr, clean.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
            new.writestr(clean, old.read(member))
    path.write_bytes(packed.getvalue())


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT,
        Path(sys.argv[2]) if len(sys.argv) > 2 else Path("dist"),
    )
