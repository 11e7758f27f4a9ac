"""`dify-job demo`: the whole thing with no server and no key."""

import os
import tempfile
from pathlib import Path

import click

from ..standin.apps import DEMO
from ..standin.server import StandIn
from .options import Globals
from .output import say
from .run import run

_CONFIG = """\
[jobs.demo]
base_url = "{base_url}"
api_key_env = "DIFY_JOB_DEMO_KEY"
inputs = {{ topic = "sales", day = "{{{{ today }}}}" }}
state = "none"
"""


@click.command()
@click.pass_context
def demo(ctx: click.Context) -> int:
    """Start the built-in stand-in Dify on loopback and run a workflow against it."""
    options = ctx.ensure_object(Globals)
    options.env_file = None
    if options.log_format == "auto":
        options.log_format = "auto" if os.isatty(2) else "console"
        options.verbose = options.verbose or not os.isatty(2)
    with StandIn([DEMO]) as server, tempfile.TemporaryDirectory(prefix="dify-job-demo-") as directory:
        options.config_path = Path(directory, "config.toml")
        options.config_path.write_text(_CONFIG.format(base_url=server.base_url), encoding="utf-8")
        os.environ |= {"DIFY_JOB_DEMO_KEY": DEMO.key, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        say(f"a stand-in Dify listens on {server.base_url}; its app is {DEMO.name!r}. The config:\n")
        say(options.config_path.read_text(encoding="utf-8"))
        code = ctx.invoke(run, job="demo", pairs=(), inputs_json=None, output_file=None, scheduled=False)
        say(f"\nexit status {code}")
        return int(code)
