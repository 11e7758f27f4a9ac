"""Config files of a test, and the job that the environment describes."""

from pathlib import Path

from dify_job.config.loader import load_config
from dify_job.config.model import Job


def config(tmp_path: Path, text: str, **parts: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    for name, part in parts.items():
        (tmp_path / "config.d").mkdir(exist_ok=True)
        (tmp_path / "config.d" / f"{name}.toml").write_text(part)
    return path


def default(environ: dict[str, str], env_file: Path | None = None) -> Job:
    return load_config(env_file=env_file, environ={"XDG_CONFIG_HOME": "nowhere", **environ}).jobs["default"]
