"""The only Jinja: templates in config values, and the files of deploy/."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from .errors import JobError
from .exits import Outcome

_PACKAGE = Path(__file__).parent


def render_value(template: str, names: Mapping[str, Any], where: str) -> str:
    """A config value's template, sandboxed; where: the key's name, for the message. Raises JobError."""
    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    try:
        return environment.from_string(template).render(names)
    except (TemplateError, ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise JobError(
            Outcome.CONFIG,
            f"{where}: the template cannot be rendered: {error}",
            f"names that a template can use: {', '.join(sorted(names))}; literal braces are {{{{ '{{{{' }}}}",
        ) from None


def render_file(name: str, values: Mapping[str, Any]) -> str:
    """A file of deploy/, for example `systemd/job.service.j2`."""
    environment = Environment(
        # setup.cfg ships deploy/ inside the package; in a checkout it stands beside it.
        loader=FileSystemLoader([_PACKAGE / "deploy", _PACKAGE.parent / "deploy"]),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - units and crontabs; their own quoting is the scheduler's
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(values)
