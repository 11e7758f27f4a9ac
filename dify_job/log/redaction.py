"""Secrets, and their removal from everything that is printed, logged or stored."""

import json
import threading
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any
from urllib import parse

from ..messages.message import Message
from ..system.json_text import RawJson, dumps

_HIDDEN = "[hidden]"
_MIN_SECRET = 4  # a secret "1" would redact every 1 in the log
_secrets: list[str] = []
_keys: list[str] = []
_lock = threading.Lock()


def add_secret(secret: str, *, is_key: bool = False) -> None:
    """Redact this text from now on, also in the forms of JSON and URLs.

    Args:
        secret: The text; a text shorter than 4 characters is ignored.
        is_key: Redact it also in output files, which may contain other secrets.
    """
    if len(secret) < _MIN_SECRET:
        return
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms |= {parse.quote(secret, safe="", errors="replace"), parse.quote(secret, errors="replace")}
    with _lock:  # threads of a program add secrets concurrently
        for hidden in (_secrets, _keys) if is_key else (_secrets,):
            hidden[:] = sorted({*hidden, *forms}, key=len, reverse=True)


def redact(text: str) -> str:
    """Return the text without secrets; a Message stays one."""
    if not any(secret in text for secret in _secrets):
        return text
    return text.map(redact) if isinstance(text, Message) else _without(text, _secrets)


def redacted(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without secrets and without numbers that JSON lacks."""
    value: dict[str, Any] = _fit_for_json(record, _secrets)
    return value


def as_json(value: Any, *, indent: int | None = None, to_file: bool = False) -> str:
    """Return a value as JSON without secrets in its texts; a number that JSON lacks, such as 1e999, is null.

    Texts are redacted before they are encoded, because redacting a secret "true" in JSON would break it.

    Args:
        value: A value for json.dumps.
        indent: The indent of json.dumps.
        to_file: Redact API keys only.
    """
    secrets = _keys if to_file else _secrets
    try:
        text = dumps(value, allow_nan=False, indent=indent)
    except ValueError:
        return dumps(_fit_for_json(value, secrets), indent=indent)
    if any(secret in text for secret in secrets):
        text = dumps(_fit_for_json(value, secrets), indent=indent)
    return text


def _fit_for_json(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return _without(value, secrets)
    if isinstance(value, RawJson):
        return value.map_texts(lambda text: _without(text, secrets))
    if isinstance(value, Mapping):
        return {_fit_for_json(name, _keys): _fit_for_json(inner, secrets) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fit_for_json(inner, secrets) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return text
