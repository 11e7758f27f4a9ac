"""`dify-job demo`: a complete run without a Dify server and without a key."""

import os
import signal
import tempfile
from pathlib import Path

import click

from ..demo.server import KEY, NAME, DemoServer
from ..exit_codes import Outcome
from ..messages.command import command
from ..messages.errors import JobError
from ..messages.message import msg
from .options import Globals, option
from .output import echo, echo_data, echo_err
from .run import run

_CONFIG = """\
[jobs.demo]
base_url = "{base_url}"
api_key_env = "DIFY_JOB_DEMO_KEY"
inputs = {{ topic = "sales", day = "{{{{ today }}}}" }}
state = "none"
"""


@click.command()
@option(
    "--serve",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help=msg("Start the built-in server on PORT and leave it running; 0 chooses a free port."),
)
@click.pass_context
def demo(ctx: click.Context, /, *, serve: int | None) -> int:
    """Run a workflow on a built-in server that imitates Dify."""
    if serve is not None:
        return _serve(serve)
    options = ctx.ensure_object(Globals)
    options.env_file = None
    if options.log_format == "auto":
        options.log_format = "auto" if os.isatty(2) else "console"
        options.verbose = options.verbose or not os.isatty(2)
    with DemoServer() as server, tempfile.TemporaryDirectory(prefix="dify-job-demo-") as directory:
        options.config_path = Path(directory, "config.toml")
        options.config_path.write_text(_CONFIG.format(base_url=server.base_url), encoding="utf-8")
        os.environ |= {"DIFY_JOB_DEMO_KEY": KEY, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        echo_err(
            msg(
                "a built-in Dify server listens on {base_url} with the app {name!r}. The configuration:\n",
                base_url=server.base_url,
                name=NAME,
            )
        )
        echo_err(options.config_path.read_text(encoding="utf-8"))
        code = ctx.invoke(run, job="demo", pairs=(), inputs_json=None, output_file=None, scheduled=False)
        echo_err(msg("\nexit status {code}", code=code))
        return int(code)


def _serve(port: int) -> int:
    """Serve until SIGINT or SIGTERM, so that `init` and `install` work without Dify."""
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        server = DemoServer(port)
    except OSError as error:
        text = msg(
            "the built-in server cannot listen on 127.0.0.1:{port}: {reason}",
            port=port,
            reason=error.strerror,
        )
        raise JobError(Outcome.CANNOT_WRITE, text, command("dify-job", "demo", "--serve", "0")) from None
    with server:
        echo(
            msg(
                "a built-in Dify server listens on {base_url} with the app {name!r}. Stop it with Ctrl-C.",
                base_url=server.base_url,
                name=NAME,
            )
        )
        init = command(
            "dify-job", "init", "demo", "--base-url", server.base_url, "--every", "1h", "-i", "topic=sales"
        )  # fmt: skip
        echo_data(f"printf %s {KEY} | {init}")
        signal.sigwait(ends)
    return 0
