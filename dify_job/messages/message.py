"""Text for a person, as data: a template and its values."""

from collections.abc import Callable, Iterable
from typing import Any, Self


class Message(str):
    """An English `str` with its template and values.

    The code that prints it chooses the language (`i18n.translate`): it translates the template and messages
    among the values, then fills the values in.
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
        """Return the message with each text among its values changed; it can still be translated.

        Args:
            change: Returns the replacement of a text, for example without secrets.
        """
        return Message(
            self.template,
            {name: change(value) if isinstance(value, str) else value for name, value in self.values.items()},
        )


def has_value(text: str, value: str) -> bool:
    """Return whether a message, or a message among its values, has a value; a text without values has none.

    Args:
        text: The message.
        value: The value.
    """
    return isinstance(text, Message) and any(
        isinstance(one, str) and (one == value or has_value(one, value)) for one in text.values.values()
    )


def msg(template: str, /, **values: Any) -> Message:
    """Make a message.

    Args:
        template: English text with a `{name}` for each value. It is the key of its translation.
        **values: The values by their names, formatted as `str.format` does.
    """
    return Message(template, values)


_THE_VALUE = msg("the value")


def value_error(template: str, /, **values: Any) -> ValueError:
    """Return the error of a function that checks a value and does not know its name.

    Args:
        template: The text; `{setting}` is the name that `with_setting` inserts, "the value" until then. A key
            of a table follows it: `{setting}.{key}`.
        values: The other values of the template.
    """
    return ValueError(Message(template, {**values, "setting": _THE_VALUE}))


def with_setting(error: Exception, setting: str) -> Message:
    """Return the message of a `value_error` with the name of the value.

    Args:
        error: The error.
        setting: The name of a key, a flag, a variable or an input. A name in the message, such
            as `.attempts` of a key in a table, follows it.
    """
    text = text_of(error)
    if not isinstance(text, Message) or "setting" not in text.values:
        return msg("{setting} cannot be used: {reason}", setting=setting, reason=text)
    within = text.values["setting"]
    whole = setting if within is _THE_VALUE else f"{setting}{within}"
    return Message(text.template, {**text.values, "setting": whole})


def text_of(error: Exception) -> str:
    """Return the text of an error. If it was raised with a message, the text can be translated.

    Args:
        error: Any exception.
    """
    text = error.args[0] if len(error.args) == 1 else None
    return text if isinstance(text, Message) else str(error)


def join(separator: str, parts: Iterable[str]) -> Message:
    """Join texts to a message; messages among them, and the separator, can still be translated.

    Args:
        separator: The text between two parts, such as `, `.
        parts: Messages, and texts that need no translation.
    """
    values = {f"part{number}": part for number, part in enumerate(parts)}
    template = "{separator}".join(f"{{{name}}}" for name in values)
    return Message(template, values | {"separator": separator})
