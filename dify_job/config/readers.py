"""Readers of configuration values: they check and convert the value of a setting.

A reader raises ValueError with a message about THE_VALUE; `with_setting` inserts the name of the setting.
Most readers are another reader with rules: a test, and the message for a value that fails it.
"""

import re
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import date, time
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ..messages.message import THE_VALUE, join, msg, with_setting
from ..system import json_text
from .model import JSON_TYPES, URL_FILE, Downloads, Expectation, file_of

Reader = Callable[[Any], Any]

_RUN_FIELDS = ("outputs", "status", "error", "elapsed_time", "total_tokens", "total_steps")
_NAMED_CHECKS = {"nonempty": Expectation(nonempty=True), "present": Expectation()}

_SIZE = r"(\d+)\s*(B|kB|KB|MB)?"
_SIZES = {None: 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 1_000_000}
_LOOPBACK = r"localhost|127(\.\d{1,3}){3}|(0\.){3}0|::1?"
_UNPRINTABLE = "[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]"
_USER = r"[A-Za-z0-9_](?:[A-Za-z0-9_.@+-]{0,29}[A-Za-z0-9_.$-])?"  # systemd allows 31 characters
_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # RFC 9110, section 5.1
_HEADER_VALUE = r"[!-~](?:[ -~]*[!-~])?"
_RESERVED_HEADERS = frozenset(
    {
        "accept-encoding", "authorization", "connection", "content-encoding", "content-length",
        "content-type", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_MAX_USER = 255  # more is HTTP 500 on every version recorded (`error-user-256-characters`)


def text(value: Any) -> str:
    """Read a text.

    Args:
        value: The value in a configuration file or a flag.

    Returns:
        The text, not empty.

    Raises:
        ValueError: The value is no text, or is empty.
    """
    if not isinstance(value, str):
        raise ValueError(msg("{setting} must be a string", setting=THE_VALUE))
    if not value.strip():
        raise ValueError(msg("{setting} must not be empty", setting=THE_VALUE))
    return value


def _is_printable(value: str) -> bool:
    """Return True for a text without control characters, line ends and bytes that are not UTF-8."""
    return value.isprintable() or not re.search(_UNPRINTABLE, value)


def checked(read: Reader, *rules: tuple[Callable[[Any], object], Callable[[Any], str]]) -> Reader:
    """Return a reader that adds rules to another reader.

    Args:
        read: The other reader.
        *rules: Pairs of a test for valid values and the message for others.
    """

    def read_checked(value: Any) -> Any:
        found = read(value)
        for is_good, mistake in rules:
            if not is_good(found):
                raise ValueError(mistake(found))
        return found

    return read_checked


def text_or_list(read: Reader) -> Reader:
    """Return the reader of one value or a list of values that another reader accepts."""
    return lambda value: tuple(map(read, strings(value)))


boolean = checked(
    lambda value: value,
    (
        lambda value: isinstance(value, bool),
        lambda _: msg("{setting} must be true or false", setting=THE_VALUE),
    ),
)
attempts = checked(
    lambda value: value,
    (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
        lambda _: msg("{setting} must be a whole number of at least 1", setting=THE_VALUE),
    ),
)
# One line of text, as units, crontabs and manifests take it.
line: Callable[[Any], str] = checked(
    text,
    (
        _is_printable,
        lambda _: msg("{setting} must be one line without control characters", setting=THE_VALUE),
    ),
)
# A user of the system, as User= of a unit and the sixth field of a crontab take it.
user_name = checked(
    text,
    (  # cron looks up a name, and useradd(8) creates no name of digits only
        lambda value: not value.isdigit(),
        lambda value: msg(
            "{setting} is {value!r}, a user ID, but must be a user name; to see the name, run: "
            "getent passwd {value}",
            value=value,
            setting=THE_VALUE,
        ),
    ),
    (
        lambda value: re.fullmatch(_USER, value),
        lambda value: msg(
            "{setting} is {value!r}, which is not a user name. A user name has at most "
            "31 characters (letters, digits and . _ - @ +) and begins with a letter, a "
            "digit or _",
            value=value,
            setting=THE_VALUE,
        ),
    ),
)
# The id of an end user of Dify.
user = checked(
    line,
    (
        lambda value: len(value) <= _MAX_USER,
        lambda _: msg(
            "{setting} must have at most {maximum} characters", maximum=_MAX_USER, setting=THE_VALUE
        ),
    ),
)
variable = checked(
    text,
    (  # the value is not shown, because some users put the key itself there
        lambda value: re.fullmatch(_VARIABLE, value),
        lambda _: msg(
            "{setting} must be the name of an environment variable, such as DIFY_API_KEY_DAILY",
            setting=THE_VALUE,
        ),
    ),
)
# The environment variables that templates may read.
names_of_variables = text_or_list(
    checked(
        str,
        (
            lambda name: re.fullmatch(_VARIABLE, name),
            lambda name: msg(
                "{setting} contains {name!r}, which is not the name of an environment variable",
                name=name,
                setting=THE_VALUE,
            ),
        ),
        (
            lambda name: name != "DIFY_API_KEY",
            lambda _: msg(
                "{setting} must not contain DIFY_API_KEY: templates must not put the API key into inputs",
                setting=THE_VALUE,
            ),
        ),
    )
)
# Names or addresses of hosts, without scheme and port.
host_names = text_or_list(
    checked(
        str,
        (
            lambda name: re.fullmatch(r"[A-Za-z0-9._:-]+", name) and "//" not in name,
            lambda name: msg(
                "{setting} contains {name!r}, which is not a host name; write it without https:// and /",
                name=name,
                setting=THE_VALUE,
            ),
        ),
    )
)
# Files with apprise URLs: the URLs contain passwords, and everybody can read a configuration file.
url_files = text_or_list(
    checked(
        line,
        (
            lambda item: item.startswith(URL_FILE) and file_of(item).is_absolute(),
            lambda _: msg(
                "{setting} must name a file (mode 0600, one Apprise URL per line), such as "
                "{prefix}/etc/dify-job/notify.urls",
                prefix=URL_FILE,
                setting=THE_VALUE,
            ),
        ),
    )
)


def description(value: Any) -> str:
    """Read a title.

    Args:
        value: As a config file or a flag has it.

    Returns:
        The title on one line, with a replacement character for what cannot be printed.

    Raises:
        ValueError: It is no text, or is empty.
    """
    return re.sub(_UNPRINTABLE, "\ufffd", " ".join(text(value).split()))


def base_url(value: Any) -> str:
    """Read the base URL of Dify, with or without /v1 and a trailing slash.

    Args:
        value: As a config file or a flag has it.

    Returns:
        The address, ending in /v1.

    Raises:
        ValueError: The value is no http or https address, or has a login, a query or a fragment.
    """
    url = line(value).strip()
    parts = _http_address(url)
    if parts is None:  # the value is not shown, because it can contain a key or a password
        raise ValueError(
            msg(
                "{setting} is not an http or https address; write it as https://dify.example.com/v1",
                setting=THE_VALUE,
            )
        )
    if parts.username or parts.password:
        raise ValueError(
            msg(
                "{setting} must not contain a user or password; the API key alone gives access",
                setting=THE_VALUE,
            )
        )
    if parts.query or parts.fragment or re.search(r"[\s\x00-\x1f\\]", url):
        raise ValueError(msg("{setting} must be an address without ?, # and spaces", setting=THE_VALUE))
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}/v1"


def _http_address(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if good else None


def is_loopback(url: str) -> bool:
    """Return True for a loopback address."""
    host = urlsplit(url).hostname or ""
    return re.fullmatch(_LOOPBACK, host) is not None


def unencrypted_host(url: str) -> str | None:
    """Return the host that would receive the key unencrypted; None for loopback or https."""
    parts = urlsplit(url)
    return parts.hostname if parts.scheme == "http" and not is_loopback(url) else None


def choice(*allowed: str) -> Reader:
    """Return the reader of one of some words.

    Args:
        *allowed: The words.
    """

    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(
                msg("{setting} must be one of {allowed}", allowed=join(", ", allowed), setting=THE_VALUE)
            )
        return str(value)

    return read


def path(value: Any) -> Path:
    """Read a path; ~ is the user's home.

    Args:
        value: As a config file or a flag has it.

    Returns:
        The path, relative or absolute.

    Raises:
        ValueError: The path is not one line, or the home of its user is unknown.
    """
    try:
        return Path(line(value)).expanduser()
    except RuntimeError as error:  # ~nobody-of-this-name
        raise ValueError(
            msg(
                "{setting} is {value!r}, but the home directory in this path cannot be found: {error}",
                value=value,
                error=error,
                setting=THE_VALUE,
            )
        ) from None


def absolute_path(value: Any) -> Path:
    """Read an absolute path.

    Args:
        value: As a config file or a flag has it.

    Returns:
        The path.

    Raises:
        ValueError: The path is relative.
    """
    if not (found := path(value)).is_absolute():
        raise ValueError(
            msg("{setting} is {value!r}, but must be an absolute path", value=value, setting=THE_VALUE)
        )
    return found


# node_exporter's textfile collector reads *.prom alone.
prometheus_file = checked(
    path,
    (
        lambda value: value.is_absolute() and value.suffix == ".prom",
        lambda _: msg("{setting} must be an absolute path that ends in .prom", setting=THE_VALUE),
    ),
)


def table(value: Any) -> Mapping[str, Any]:
    """Read a table with any keys.

    Args:
        value: As a config file or a flag has it.

    Returns:
        The table.

    Raises:
        ValueError: It is no table, or is nested too deep.
    """
    if not isinstance(value, dict):
        raise ValueError(msg("{setting} must be a table: {{ key = value }}", setting=THE_VALUE))
    json_text.check(value)
    return value


def json_value(value: Any) -> Any:
    """Read any value that JSON can represent.

    Args:
        value: As a config file has it.

    Returns:
        The value, with texts in place of dates and times.

    Raises:
        ValueError: The value contains inf or nan.
    """
    if isinstance(value, Mapping):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(
            msg("{setting} contains {value}, which JSON does not allow", value=value, setting=THE_VALUE)
        )
    return value.isoformat() if isinstance(value, (date, time)) else value


def json_table(value: Any) -> Mapping[str, Any]:
    """Read a table with any keys, as `table` and `json_value` do."""
    read: Mapping[str, Any] = json_value(table(value))
    return read


def size(value: Any) -> int:
    """Read a size, such as "2kB"; false means 0.

    Args:
        value: As a config file or a flag has it.

    Returns:
        Bytes.

    Raises:
        ValueError: It is no size.
    """
    if value is False:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = re.fullmatch(_SIZE, value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(msg('{setting} must be a size such as "2kB", or false', setting=THE_VALUE))
    return int(found[1]) * _SIZES[found[2]]


def strings(value: Any) -> tuple[str, ...]:
    """Read a text, or a list of them.

    Args:
        value: As a config file or a flag has it.

    Returns:
        The texts.

    Raises:
        ValueError: One is no text, or has control characters.
    """
    if isinstance(value, str):
        return (line(value),)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError(msg("{setting} must be a string or a list of strings", setting=THE_VALUE))
    if not all(map(_is_printable, value)):
        raise ValueError(
            msg("{setting} must not contain line breaks or control characters", setting=THE_VALUE)
        )
    return tuple(value)


def files(value: Any) -> Mapping[str, tuple[str, ...]]:
    """Read files by the name of their input: a path or an address, or a list of them.

    Args:
        value: As a config file or a flag has it.

    Returns:
        Paths and addresses by the name of their input.

    Raises:
        ValueError: One is no text, or has control characters.
    """
    read: dict[str, tuple[str, ...]] = {}
    for key, item in table(value).items():
        if isinstance(item, str) and not _is_printable(item):
            raise ValueError(
                msg("{setting}.{key} must be one line without control characters", key=key, setting=THE_VALUE)
            )
        read[key] = (item,) if isinstance(item, str) else strings(item)
    return read


def timezone(value: Any) -> str:
    """Read the name of a time zone.

    Args:
        value: As a config file or a flag has it.

    Returns:
        The name.

    Raises:
        ValueError: This machine has no such zone.
    """
    try:
        zoneinfo.ZoneInfo(text(value))
    except (OSError, ValueError, KeyError):
        raise ValueError(
            msg(
                "{setting} is {value!r}, a time zone that this machine does not have; an "
                "example is Asia/Shanghai",
                value=value,
                setting=THE_VALUE,
            )
        ) from None
    return str(value)


def structure(cls: Any, **readers: Reader) -> Reader:
    """Return the reader of a table that becomes a frozen value. The reader rejects unknown keys.

    Args:
        cls: The type of the value, a NamedTuple.
        **readers: The reader of each of its keys.
    """

    def read(value: Any) -> Any:
        for key in table(value):
            if key not in cls._fields:
                raise ValueError(
                    msg(
                        "{setting} has no setting {key!r}; its settings are {names}",
                        key=key,
                        names=join(", ", cls._fields),
                        setting=THE_VALUE,
                    )
                )
        built = {}
        for key, item in value.items():
            try:
                built[key] = readers[key](item)
            except ValueError as error:
                raise ValueError(with_setting(error, f".{key}")) from None
        return cls(**built)

    return read


# A dotted path in a run, such as outputs.result or outputs.items.0.name.
run_path = checked(
    lambda value: value,
    (
        lambda value: isinstance(value, str) and value,
        lambda _: msg('{setting} must name a value of the run, such as "outputs.result"', setting=THE_VALUE),
    ),
    (
        lambda value: value.split(".")[0] in _RUN_FIELDS,
        lambda value: msg(
            "{setting} is {value!r}, but must begin with one of {steps}",
            value=value,
            steps=join(", ", _RUN_FIELDS),
            setting=THE_VALUE,
        ),
    ),
    (
        lambda value: all(value.split(".")),
        lambda value: msg(
            "{setting} is {value!r}, but a name must follow each dot",
            value=value,
            setting=THE_VALUE,
        ),
    ),
)


def _regex(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(msg("{setting} must be a string", setting=THE_VALUE))
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(
            msg(
                "{setting} is {value!r}, which is not a regular expression: {error}",
                value=value,
                error=error,
                setting=THE_VALUE,
            )
        ) from None
    return value


def _types(value: Any) -> tuple[str, ...]:
    words = value.split("|") if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(word in JSON_TYPES for word in words):
        raise ValueError(
            msg(
                "{setting} must be one of {types}, or several of them with | in between",
                types=join(", ", JSON_TYPES),
                setting=THE_VALUE,
            )
        )
    return tuple(words)


_checks = structure(
    Expectation, nonempty=boolean, equals=lambda value: (json_value(value),), regex=_regex, type=_types
)


def _expectation(wanted: Any) -> Any:
    if isinstance(wanted, Expectation):
        return wanted
    if isinstance(wanted, str):
        if wanted not in _NAMED_CHECKS:
            raise ValueError(
                msg(
                    "{setting} is {wanted!r}, but must be {words} or a table with equals, regex or type",
                    wanted=wanted,
                    words=" | ".join(map(repr, _NAMED_CHECKS)),
                    setting=THE_VALUE,
                )
            )
        return _NAMED_CHECKS[wanted]
    if not isinstance(wanted, dict) or not wanted:
        raise ValueError(
            msg('{setting} must be "nonempty" or a table such as {{ regex = "^OK" }}', setting=THE_VALUE)
        )
    return _checks(wanted)


def expect(value: Any) -> Mapping[str, Expectation]:
    """Read the assertions by path in the run.

    Args:
        value: As a config file or a flag has it.

    Returns:
        Expectations by path.

    Raises:
        ValueError: A path or an expectation is wrong.
    """
    if not isinstance(value, dict):
        raise ValueError(
            msg('{setting} must be a table: {{ "outputs.result" = "nonempty" }}', setting=THE_VALUE)
        )
    read = {}
    for path, wanted in value.items():
        run_path(path)
        try:
            read[path] = _expectation(wanted)
        except ValueError as error:
            raise ValueError(with_setting(error, f'."{path}"')) from None
    return read


def mode(value: Any) -> int:
    """Read a file mode in octal, as chmod(1) does: "0640".

    Args:
        value: As a config file or a flag has it.

    Returns:
        The mode.

    Raises:
        ValueError: It is no text of octal digits.
    """
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError(
            msg('{setting} must be a file mode in octal, as a string: "0640"', setting=THE_VALUE)
        )
    return int(value, 8)


def downloads(value: Any) -> Downloads | None:
    """Read true, false or a table with the limits of downloads.

    Args:
        value: As a config file or a flag has it.

    Returns:
        The limits: files, and bytes of one file; None for no downloads.

    Raises:
        ValueError: A limit is wrong.
    """
    if isinstance(value, bool):
        return Downloads() if value else None
    read: Downloads = structure(Downloads, max_files=attempts, max_size=size)(value)
    return read


# An http or https address, with whatever path and query it has.
web_address = checked(
    lambda value: line(value).strip(),
    (  # not quoted: who knows a ping address can ping
        lambda url: _http_address(url) is not None and not re.search(r"[\s\x00-\x1f\\#]", url),
        lambda _: msg("{setting} must be an http or https address", setting=THE_VALUE),
    ),
)


def headers(value: Any) -> Mapping[str, str | Path]:
    """Read request headers by name: a public value, or `{ file = PATH }`.

    Args:
        value: As a config file or a flag has it.

    Returns:
        Values, and paths of files, by name.

    Raises:
        ValueError: A name or a value is wrong, or dify-job sets the header itself.
    """
    read: dict[str, str | Path] = {}
    for name, item in table(value).items():
        if not re.fullmatch(_HEADER_NAME, name):
            raise ValueError(
                msg(
                    "{setting} contains {name!r}, which is not the name of a request header",
                    name=name,
                    setting=THE_VALUE,
                )
            )
        if name.lower() in _RESERVED_HEADERS or name.lower().startswith("proxy-"):
            raise ValueError(
                msg(
                    "{setting} must not contain {name}: dify-job sets this header itself",
                    name=name,
                    setting=THE_VALUE,
                )
            )
        if name.lower() in (other.lower() for other in read):
            raise ValueError(msg("{setting} contains the header {name} twice", name=name, setting=THE_VALUE))
        read[name] = _header_value(name, item)
    return read


def _header_value(name: str, item: Any) -> str | Path:
    if isinstance(item, Path):
        return item
    if isinstance(item, dict):
        if item.keys() != {"file"}:
            raise ValueError(
                msg('{setting}.{name} must be a string or {{ file = "/path" }}', name=name, setting=THE_VALUE)
            )
        try:
            return absolute_path(item["file"])
        except ValueError as error:
            raise ValueError(with_setting(error, f".{name}.file")) from None
    if not isinstance(item, str) or not is_header_value(item):
        raise ValueError(
            msg(
                '{setting}.{name} must be one line of printable ASCII, or {{ file = "/path" '
                "}} for a secret value",
                name=name,
                setting=THE_VALUE,
            )
        )
    return item


def is_header_value(text: str) -> bool:
    """Return whether a text is a valid header value."""
    return re.fullmatch(_HEADER_VALUE, text) is not None
