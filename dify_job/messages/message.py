"""Text for a person, as data: a template and its values."""

from collections.abc import Callable, Iterable
from typing import Any, Self


class Message(str):
    """A text that is English as a `str`, and that knows what it was made from.

    The place that prints it chooses the language (`i18n.translate`): the catalogue translates the
    template, and the values are filled in afterwards. Messages among the values are translated, too.
    """

    __slots__ = ("template", "values")
    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, values: dict[str, Any]) -> Self:
        """Fill the values into the template.

        Args:
            template: English text with a `{name}` for each value, as `str.format` reads it.
            values: The values by their names.
        """
        values = {name: text_of(one) if isinstance(one, Exception) else one for name, one in values.items()}
        message = super().__new__(cls, template.format_map(values))
        message.template = template
        message.values = values
        return message

    def __getnewargs__(self) -> Any:
        """Support copy and pickle."""
        return self.template, self.values

    def map(self, change: Callable[[str], str]) -> "Message":
        """Return the message with each text among its values changed, so that it can still be translated.

        Args:
            change: Takes a text and returns what takes its place, such as one without secrets.
        """
        return Message(
            self.template,
            {name: change(value) if isinstance(value, str) else value for name, value in self.values.items()},
        )


def msg(template: str, /, **values: Any) -> Message:
    """Make a message.

    Args:
        template: English text with a `{name}` for each value. It is the key of its translation.
        **values: The values by their names, formatted as `str.format` does.
    """
    return Message(template, values)


THE_VALUE = msg("the value")


def with_setting(error: Exception, setting: str) -> Message:
    """Return the message of a reader with the name of the setting that it read.

    A reader knows only the value: its message has the value `setting`, which is THE_VALUE, or begins with a
    dot where it is a key in a table (`.attempts`).

    Args:
        error: What the reader raised.
        setting: The name of a key, a flag or a variable.
    """
    text = text_of(error)
    if not isinstance(text, Message) or "setting" not in text.values:
        return msg("{setting} cannot be used: {reason}", setting=setting, reason=text)
    within = text.values["setting"]
    whole = setting if within is THE_VALUE else f"{setting}{within}"
    return Message(text.template, {**text.values, "setting": whole})


def text_of(error: Exception) -> str:
    """Return the text of an error; the message that it was raised with can still be translated.

    Args:
        error: Any exception; a library's has text that is no message.
    """
    text = error.args[0] if len(error.args) == 1 else None
    return text if isinstance(text, Message) else str(error)


def join(separator: str, parts: Iterable[str]) -> Message:
    """Join texts, so that the messages among them, and the punctuation between them, can still be translated.

    Args:
        separator: What stands between two parts, such as `, `.
        parts: Messages, and texts that need no translation.
    """
    values = {f"part{number}": part for number, part in enumerate(parts)}
    template = "{separator}".join(f"{{{name}}}" for name in values)
    return Message(template, values | {"separator": separator})
