"""The descriptions that zsh and fish show with completions, in the reader's language."""

from click.shell_completion import CompletionItem, FishComplete, ZshComplete, add_completion_class

from ..messages.i18n import translate_constant


class _Zsh(ZshComplete):
    def format_completion(self, item: CompletionItem) -> str:
        return super().format_completion(_spoken(item))


class _Fish(FishComplete):
    def format_completion(self, item: CompletionItem) -> str:
        return super().format_completion(_spoken(item))


def set_up() -> None:
    """Let click answer the shells by these."""
    add_completion_class(_Zsh)
    add_completion_class(_Fish)


def _spoken(item: CompletionItem) -> CompletionItem:
    if item.help:
        item.help = translate_constant(" ".join(item.help.split()))
    return item
