"""Readers of configuration values: they check and convert the value of a setting."""

import re
import zoneinfo
from collections.abc import Mapping
from datetime import date, time
from math import isfinite
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from ..messages.message import join, value_error, with_setting
from ..system import json_text
from .model import JSON_TYPES, URL_FILE, Downloads, Expectation, file_of


class ValueReader(Protocol):
    """The type of the functions that read the value of one setting."""

    def __call__(self, value: Any, /) -> Any:
        """Check and convert a value.

        Args:
            value: The value in a configuration file, flag or variable, or a value that the reader returned.

        Returns:
            The value for the frozen Job.

        Raises:
            ValueError: The value is wrong. `with_setting` inserts the name of the setting into its message.
        """


_RUN_FIELDS = ("outputs", "status", "error", "elapsed_time", "total_tokens", "total_steps")
_NAMED_CHECKS = {"nonempty": Expectation(nonempty=True), "present": Expectation()}

_SIZE = r"(\d+)\s*(B|kB|KB|MB)?"
_SIZES = {None: 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 1_000_000}
_LOOPBACK = r"localhost|127(\.\d{1,3}){3}|(0\.){3}0|::1?"
_HOST = r"(?=.{1,254}$)[^.*]{1,63}(\.[^.*]{1,63})*\.?"  # labels of DNS (RFC 1035, section 2.3.4)
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
    """Read a text."""
    if not isinstance(value, str):
        raise value_error("{setting} must be a string")
    if not value.strip():
        raise value_error("{setting} must not be empty")
    return value


def _is_printable(value: str) -> bool:
    """Return True for a text without control characters, line ends and bytes that are not UTF-8."""
    return value.isprintable() or not re.search(_UNPRINTABLE, value)


def boolean(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise value_error("{setting} must be true or false")
    return value


def count(value: Any) -> int:
    """Read a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise value_error("{setting} must be a whole number of at least 1")
    return value


def line(value: Any) -> str:
    """Read one line of text, as units, crontabs and manifests take it."""
    if not _is_printable(text(value)):
        raise value_error("{setting} must be one line without control characters")
    return str(value)


def user_name(value: Any) -> str:
    """Read a user of the system, as User= of a unit and the sixth field of a crontab take it."""
    if text(value).isdigit():  # cron looks up a name, and useradd(8) creates no name of digits only
        raise value_error(
            "{setting} is {value!r}, a user ID, but must be a user name; to see the name, run: "
            "getent passwd {value}",
            value=value,
        )
    if not re.fullmatch(_USER, value):
        raise value_error(
            "{setting} is {value!r}, which is not a user name. A user name has at most "
            "31 characters (letters, digits and . _ - @ +) and begins with a letter, a "
            "digit or _",
            value=value,
        )
    return str(value)


def end_user(value: Any) -> str:
    """Read the ID of an end user of Dify."""
    if len(line(value)) > _MAX_USER:
        raise value_error("{setting} must have at most {maximum} characters", maximum=_MAX_USER)
    return str(value)


def variable(value: Any) -> str:
    """Read the name of an environment variable."""
    if not re.fullmatch(_VARIABLE, text(value)):  # not shown, because some users put the key itself there
        raise value_error("{setting} must be the name of an environment variable, such as DIFY_API_KEY_DAILY")
    return str(value)


def names_of_variables(value: Any) -> tuple[str, ...]:
    """Read the environment variables that templates may read."""
    for name in (names := strings(value)):
        if not re.fullmatch(_VARIABLE, name):
            raise value_error(
                "{setting} contains {name!r}, which is not the name of an environment variable", name=name
            )
        if name == "DIFY_API_KEY":
            raise value_error(
                "{setting} must not contain DIFY_API_KEY: templates must not put the API key into inputs"
            )
    return names


def host_names(value: Any) -> tuple[str, ...]:
    """Read names or addresses of hosts, without scheme and port."""
    for name in (names := strings(value)):
        if not re.fullmatch(r"[A-Za-z0-9._:-]+", name):
            raise value_error(
                "{setting} contains {name!r}, which is not a host name; write it without https:// and /",
                name=name,
            )
    return names


def url_files(value: Any) -> tuple[str, ...]:
    """Read names of files with Apprise URLs: these contain passwords, and others read configurations."""
    for name in (names := tuple(map(line, strings(value)))):
        if not name.startswith(URL_FILE) or not file_of(name).is_absolute():
            raise value_error(
                "{setting} must name a file (mode 0600, one Apprise URL per line), such as "
                "{prefix}/etc/dify-job/notify.urls",
                prefix=URL_FILE,
            )
    return names


def description(value: Any) -> str:
    """Read a title."""
    return re.sub(_UNPRINTABLE, "\ufffd", " ".join(text(value).split()))


def base_url(value: Any) -> str:
    """Read the base URL of Dify, with or without /v1 and a trailing slash."""
    url = line(value).strip()
    parts = _http_address(url)
    if parts is None:  # the value is not shown, because it can contain a key or a password
        raise value_error(
            "{setting} is not an http or https address; write it as https://dify.example.com/v1"
        )
    if parts.username or parts.password:
        raise value_error("{setting} must not contain a user or password; the API key alone gives access")
    if re.search(r"[${}<>]", parts.netloc):
        raise value_error(
            "{setting} must contain the name of the server, because dify-job replaces no variables"
        )
    if parts.query or parts.fragment or re.search(r"[\s\x00-\x1f\\]", url):
        raise value_error("{setting} must be an address without ?, # and spaces")
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}/v1"


def _http_address(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        good = parts.scheme in ("http", "https") and re.fullmatch(_HOST, host) and parts.port != 0
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


def choice(*allowed: str) -> ValueReader:
    """Return the reader of one of some words.

    Args:
        *allowed: The words.
    """

    def read(value: Any) -> str:
        if value not in allowed:
            raise value_error("{setting} must be one of {allowed}", allowed=join(", ", allowed))
        return str(value)

    return read


def path(value: Any) -> Path:
    """Read a path; ~ is the user's home."""
    try:
        return Path(line(value)).expanduser()
    except RuntimeError as error:  # ~nobody-of-this-name
        raise value_error(
            "{setting} is {value!r}, but the home directory in this path cannot be found: {error}",
            value=value,
            error=error,
        ) from None


def absolute_path(value: Any) -> Path:
    """Read an absolute path."""
    if not (found := path(value)).is_absolute():
        raise value_error("{setting} is {value!r}, but must be an absolute path", value=value)
    return found


def prometheus_file(value: Any) -> Path:
    """Read the path of a metrics file: node_exporter's textfile collector reads *.prom alone."""
    if not (found := path(value)).is_absolute() or found.suffix != ".prom":
        raise value_error("{setting} must be an absolute path that ends in .prom")
    return found


def table(value: Any) -> Mapping[str, Any]:
    """Read a table with any keys."""
    if not isinstance(value, dict):
        raise value_error("{setting} must be a table: {{ key = value }}")
    json_text.check(value)
    return value


def json_value(value: Any) -> Any:
    """Read any value that JSON can represent."""
    if isinstance(value, Mapping):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        raise value_error("{setting} contains {value}, which JSON does not allow", value=value)
    return value.isoformat() if isinstance(value, (date, time)) else value


def json_table(value: Any) -> Mapping[str, Any]:
    """Read a table with any keys, as `table` and `json_value` do."""
    read: Mapping[str, Any] = json_value(table(value))
    return read


def size(value: Any) -> int:
    """Read a size, such as "2kB"; false means 0."""
    if value is False:
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = re.fullmatch(_SIZE, value) if isinstance(value, str) else None
    if found is None:
        raise value_error('{setting} must be a size such as "2kB", or false')
    return int(found[1]) * _SIZES[found[2]]


def strings(value: Any) -> tuple[str, ...]:
    """Read a text, or a list of them."""
    if isinstance(value, str):
        return (line(value),)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise value_error("{setting} must be a string or a list of strings")
    if not all(map(_is_printable, value)):
        raise value_error("{setting} must not contain line breaks or control characters")
    return tuple(value)


def files(value: Any) -> Mapping[str, tuple[str, ...]]:
    """Read files by the name of their input: a path or an address, or a list of them."""
    read: dict[str, tuple[str, ...]] = {}
    for key, item in table(value).items():
        if isinstance(item, str) and not _is_printable(item):
            raise value_error("{setting}.{key} must be one line without control characters", key=key)
        read[key] = (item,) if isinstance(item, str) else strings(item)
    return read


def timezone(value: Any) -> str:
    """Read the name of a time zone."""
    try:
        zoneinfo.ZoneInfo(text(value))
    except (OSError, ValueError, KeyError):
        raise value_error(
            "{setting} is {value!r}, a time zone that this machine does not have; an "
            "example is Asia/Shanghai",
            value=value,
        ) from None
    return str(value)


def structure(cls: Any, **readers: ValueReader) -> ValueReader:
    """Return the reader of a table that becomes a frozen value. The reader rejects unknown keys.

    Args:
        cls: The type of the value, a NamedTuple.
        **readers: The reader of each of its keys.
    """

    def read(value: Any) -> Any:
        for key in table(value):
            if key not in cls._fields:
                raise value_error(
                    "{setting} has no setting {key!r}; its settings are {names}",
                    key=key,
                    names=join(", ", cls._fields),
                )
        built = {}
        for key, item in value.items():
            try:
                built[key] = readers[key](item)
            except ValueError as error:
                raise ValueError(with_setting(error, f".{key}")) from None
        return cls(**built)

    return read


def run_path(value: Any) -> str:
    """Read a dotted path in a run, such as outputs.result or outputs.items.0.name."""
    if not isinstance(value, str) or not value:
        raise value_error('{setting} must name a value of the run, such as "outputs.result"')
    first, *more = value.split(".")
    if first not in _RUN_FIELDS:
        raise value_error(
            "{setting} is {value!r}, but must begin with one of {steps}",
            value=value,
            steps=join(", ", _RUN_FIELDS),
        )
    if not all(more):
        raise value_error("{setting} is {value!r}, but a name must follow each dot", value=value)
    return value


def _regex(value: Any) -> str:
    if not isinstance(value, str):
        raise value_error("{setting} must be a string")
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise value_error(
            "{setting} is {value!r}, which is not a regular expression: {error}", value=value, error=error
        ) from None
    return value


def _types(value: Any) -> tuple[str, ...]:
    words = value.split("|") if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(word in JSON_TYPES for word in words):
        raise value_error(
            "{setting} must be one of {types}, or several of them with | in between",
            types=join(", ", JSON_TYPES),
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
            raise value_error(
                "{setting} is {wanted!r}, but must be {words} or a table with equals, regex or type",
                wanted=wanted,
                words=" | ".join(map(repr, _NAMED_CHECKS)),
            )
        return _NAMED_CHECKS[wanted]
    if not isinstance(wanted, dict) or not wanted:
        raise value_error('{setting} must be "nonempty" or a table such as {{ regex = "^OK" }}')
    return _checks(wanted)


def expect(value: Any) -> Mapping[str, Expectation]:
    """Read the assertions by path in the run."""
    if not isinstance(value, dict):
        raise value_error('{setting} must be a table: {{ "outputs.result" = "nonempty" }}')
    read = {}
    for path, wanted in value.items():
        run_path(path)
        try:
            read[path] = _expectation(wanted)
        except ValueError as error:
            raise ValueError(with_setting(error, f'."{path}"')) from None
    return read


def mode(value: Any) -> int:
    """Read a file mode in octal, as chmod(1) does: "0640"."""
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise value_error('{setting} must be a file mode in octal, as a string: "0640"')
    return int(value, 8)


def downloads(value: Any) -> Downloads | None:
    """Read true, false or a table with the limits of downloads."""
    if isinstance(value, bool):
        return Downloads() if value else None
    read: Downloads = structure(Downloads, max_files=count, max_size=size)(value)
    return read


def web_address(value: Any) -> str:
    """Read an http or https address, with whatever path and query it has."""
    url = line(value).strip()
    # The value is not shown, because the address of a ping is a secret.
    if _http_address(url) is None or re.search(r"[\s\x00-\x1f\\#]", url):
        raise value_error("{setting} must be an http or https address")
    return url


def headers(value: Any) -> Mapping[str, str | Path]:
    """Read request headers by name: a public value, or `{ file = PATH }`."""
    read: dict[str, str | Path] = {}
    for name, item in table(value).items():
        if not re.fullmatch(_HEADER_NAME, name):
            raise value_error(
                "{setting} contains {name!r}, which is not the name of a request header", name=name
            )
        if name.lower() in _RESERVED_HEADERS or name.lower().startswith("proxy-"):
            raise value_error(
                "{setting} must not contain {name}: dify-job sets this header itself", name=name
            )
        if name.lower() in (other.lower() for other in read):
            raise value_error("{setting} contains the header {name} twice", name=name)
        read[name] = _header_value(name, item)
    return read


def _header_value(name: str, item: Any) -> str | Path:
    if isinstance(item, Path):
        return item
    if isinstance(item, dict):
        if item.keys() != {"file"}:
            raise value_error('{setting}.{name} must be a string or {{ file = "/path" }}', name=name)
        try:
            return absolute_path(item["file"])
        except ValueError as error:
            raise ValueError(with_setting(error, f".{name}.file")) from None
    if not isinstance(item, str) or not is_header_value(item):
        raise value_error(
            '{setting}.{name} must be one line of printable ASCII, or {{ file = "/path" '
            "}} for a secret value",
            name=name,
        )
    return item


def is_header_value(text: str) -> bool:
    """Return whether a text is a valid header value."""
    return re.fullmatch(_HEADER_VALUE, text) is not None
