"""The commands. Only this package prints, exits and turns errors into exit codes.

This code runs before the imports of every command, `run` included.
"""

import gc
import sys
import warnings

from ..system.lazy_import import lazy_import

# Imports create no garbage; disabling the collector saves 0.06 of the CPU time of `import requests`.
gc.disable()

# Modules that only some commands or runs use (CONTRIBUTING.md, Imports).
lazy_import(
    # click and requests import these, and an ordinary run never uses them; saves 0.14 of `import requests`
    "csv", "difflib", "hmac", "idna", "inspect", "linecache", "mimetypes", "selectors", "shlex", "shutil",
    "stringprep", "subprocess", "textwrap", "tokenize", "traceback", "urllib3.http2", "zipfile",
    # imported by the modules of this package
    "click.shell_completion", "cronsim", "ctypes", "oncalendar", "structlog", "tomllib", "urllib.parse",
    "zoneinfo",
    "dify_job.cli.arguments", "dify_job.cli.completion", "dify_job.cli.help", "dify_job.cli.progress",
    "dify_job.cli.run",
    "dify_job.log.pipeline",
    "dify_job.report.run_text", "dify_job.report.since", "dify_job.report.text",
    "dify_job.run.app_form", "dify_job.run.assertions", "dify_job.run.downloads", "dify_job.run.dry_run",
    "dify_job.run.engine", "dify_job.run.files", "dify_job.run.input_upload", "dify_job.run.notifications",
    "dify_job.run.output",
    "dify_job.schedule.due", "dify_job.schedule.upcoming",
    "dify_job.schedulers.job_spec", "dify_job.schedulers.systemctl",
    "dify_job.state.request_file",
    "dify_job.system.subprocesses",
)  # fmt: skip

# Only Response.text detects charsets, and dify-job never reads it. Imports without a detector save 0.1 of the
# CPU time of `import requests` and 3 MiB; requests then warns, which the filter suppresses.
sys.modules |= dict.fromkeys(("chardet", "charset_normalizer"))  # type: ignore[arg-type] # None: not installed
warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
