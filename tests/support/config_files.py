"""Config files in a temporary directory, and the job of environment variables."""

from pathlib import Path

from dify_job.config.loader import load_config
from dify_job.config.model import Job
from tests.support.command import KEY


def config(tmp_path: Path, text: str, **parts: str) -> Path:
    """Write a config file and files of config.d; return the path of the former."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    for name, part in parts.items():
        (tmp_path / "config.d").mkdir(exist_ok=True)
        (tmp_path / "config.d" / f"{name}.toml").write_text(part)
    return path


def default(environ: dict[str, str], env_file: Path | None = None) -> Job:
    """Load the job `default` from variables, or from an env file."""
    return load_config(env_file=env_file, environ={"XDG_CONFIG_HOME": "nowhere", **environ}).jobs["default"]


def write_user_config(home: Path, text: str) -> Path:
    """Write a private key file, and the user's config in a home.

    Args:
        home: The home directory.
        text: The config; `{key}` in it is replaced by the path of the key file.

    Returns:
        Path of the config.
    """
    key = home / "a.key"
    key.write_text(KEY)
    key.chmod(0o600)
    path = home / ".config/dify-job/config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{key}", str(key)))
    return path
