"""The only use of Jinja: templates in configuration values, and the files of deploy/."""

import functools
import resource
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import MAX_RANGE, ImmutableSandboxedEnvironment

from ..exit_codes import Outcome
from ..messages.errors import JobError
from ..messages.message import join, msg, text_of
from ..messages.sanitize import visible

_PACKAGE = Path(__file__).parents[1]
_LENGTH = 1_000_000  # characters of a rendered value
_MEMORY = 256 * 2**20  # bytes for rendering one template
_BITS = 100_000  # of a number in it
# Filters and methods raise the last two for invalid arguments.
_MISTAKES = (
    TemplateError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    TypeError,
    ValueError,
)


def render_value(template: str, names: Mapping[str, Any], where: str) -> str:
    """Render the template of a config value, sandboxed and bounded.

    Args:
        template: The template.
        names: The variables and functions by name.
        where: The key, for the message.

    Raises:
        JobError: (config) The template cannot be rendered.
    """
    environment = _Sandbox()
    try:
        return _joined(environment.from_string(_counting(environment.parse(template))).generate(names))
    except MemoryError:
        reason: str = msg("rendering needs more than {megabytes} MiB of memory", megabytes=_MEMORY // 2**20)
    except _MISTAKES as error:
        reason = text_of(error) or type(error).__name__
    raise JobError(
        Outcome.CONFIG,
        msg("{where}: the template cannot be rendered: {reason}", where=where, reason=reason),
        msg(
            "a template can use these names: {names}. Write a literal {{{{ as {{{{ '{{{{' }}}}",
            names=join(", ", sorted(names)),
        ),
    )


class _Sandbox(ImmutableSandboxedEnvironment):
    """A sandbox without access to Python's internals, and with limits on numbers and loops."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True)
        self.globals = {"range": self.globals["range"], "namespace": self.globals["namespace"]}
        self.filters["_counted"] = self._counted
        self._rounds = 0

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Reject integers that take too long to compute."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _BITS:
                raise SecurityError(msg("the result of a calculation has more than {bits} bits", bits=_BITS))
        return super().call_binop(context, operator, left, right)

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._rounds += 1
            if self._rounds > MAX_RANGE:
                raise SecurityError(msg("its loops run more than {maximum} times", maximum=MAX_RANGE))
            yield value


def _counting(template: nodes.Template) -> nodes.Template:
    """Return the template with a counter of all loop iterations."""
    for loop in template.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
    return template


def _joined(parts: Iterable[str]) -> str:
    stored, length = [], 0
    for part in parts:
        length += len(part)
        if length > _LENGTH:
            raise SecurityError(msg("the rendered text is longer than {length} characters", length=_LENGTH))
        stored.append(part)
    return "".join(stored)


def limit_memory() -> None:
    """Limit memory, so that an endless template raises MemoryError before the machine runs out of memory.

    The limit applies to the complete process, so call this only in a process that renders templates and
    exits.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return  # no /proc
    limits = [limit for limit in (used + _MEMORY, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))


def render_file(name: str, values: Mapping[str, Any]) -> str:
    """Render a file of deploy/.

    Args:
        name: For example `systemd/job.service.j2`.
        values: The variables of the template.
    """
    return _file_environment().get_template(name).render(values)


@functools.cache  # caches compiled templates for many jobs
def _file_environment() -> Environment:
    return Environment(
        # setup.cfg installs deploy/ inside the package; in a checkout, it is next to the package.
        loader=FileSystemLoader([_PACKAGE / "deploy", _PACKAGE.parent / "deploy"]),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - units and crontabs; their own quoting is the scheduler's
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def render_html(name: str, values: Mapping[str, Any]) -> str:
    """Render an HTML template of deploy/; every value in it is escaped, control characters included.

    Args:
        name: For example `report/page.html.j2`.
        values: The variables of the template.
    """
    return _page_environment().get_template(name).render(values)


@functools.cache
def _page_environment() -> Environment:
    return _file_environment().overlay(autoescape=True, finalize=_without_controls)


def _without_controls(value: Any) -> Any:
    """Escape control characters and bidirectional control characters."""
    return visible(value) if isinstance(value, str) else value
