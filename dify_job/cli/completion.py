"""Completion in a shell: the names of jobs, and descriptions in the reader's language."""

from pathlib import Path

from click.shell_completion import CompletionItem, FishComplete, ZshComplete, add_completion_class

from ..config.loader import load_config
from ..messages.errors import JobError
from ..messages.i18n import translate_constant


def complete_job(config_path: Path | None, env_file: Path | None, incomplete: str) -> list[CompletionItem]:
    """Return the jobs of the configuration that begin with the typed text; none if it cannot be read.

    Args:
        config_path: The value of --config.
        env_file: The value of --env-file.
        incomplete: The typed text.
    """
    try:
        jobs = load_config(config_path, env_file).jobs
    except JobError:
        return []
    return [
        CompletionItem(name, help=job.description)
        for name, job in jobs.items()
        if name.startswith(incomplete)
    ]


class _Zsh(ZshComplete):
    def format_completion(self, item: CompletionItem) -> str:
        return super().format_completion(_translated_item(item))


class _Fish(FishComplete):
    def format_completion(self, item: CompletionItem) -> str:
        return super().format_completion(_translated_item(item))


def set_up_completion() -> None:
    """Translate the descriptions that zsh and fish show with completions."""
    add_completion_class(_Zsh)
    add_completion_class(_Fish)


def _translated_item(item: CompletionItem) -> CompletionItem:
    if item.help:
        item.help = translate_constant(" ".join(item.help.split()))
    return item
