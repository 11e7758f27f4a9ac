"""Time zones of machine and job."""

from datetime import timedelta
from pathlib import Path

import pytest

from dify_job.config.model import ScheduleConfig
from dify_job.config.schema import FIELDS
from dify_job.schedule import upcoming, zones
from tests.support.schedules import NOW, wall_times


def test_copied_zone_file_is_identified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = tmp_path / "localtime"
    copied.write_bytes(Path("/usr/share/zoneinfo/Asia/Tokyo").read_bytes())
    monkeypatch.setattr(zones, "_LOCALTIME", copied)
    zones._machines.cache_clear()
    assert zones.offset(zones.zone_of(None), NOW) == timedelta(hours=9)
    assert zones.same_zone(None, "Asia/Tokyo")
    assert not zones.same_zone(None, "Asia/Seoul") or NOW.year < 1900
    zones._machines.cache_clear()


@pytest.mark.parametrize("content", [None, b"", b"no zone at all"])
def test_machine_without_zone_data_uses_utc(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localtime = tmp_path / "localtime"
    if content is not None:
        localtime.write_bytes(content)
    monkeypatch.setattr(zones, "_LOCALTIME", localtime)
    zones._machines.cache_clear()
    assert zones.offset(zones.zone_of(None), NOW) == timedelta(0)
    assert wall_times(upcoming.run_times(ScheduleConfig(cron="0 7 * * *"), NOW), 1) == ["2026-11-25 07:00:00"]
    zones._machines.cache_clear()


def test_missing_zone_is_reported() -> None:
    with pytest.raises(ValueError, match="'Europe/Nowhere', a time zone that this machine does not have"):
        FIELDS["timezone"]("Europe/Nowhere")


def test_loop_of_links_is_no_zone(tmp_path: Path) -> None:
    (tmp_path / "localtime").symlink_to("localtime")
    assert zones.local_name(tmp_path / "localtime") == "UTC"
