"""The command `dify-job`, also as `python -m dify_job`."""

import signal

# Until a command can clean up, Ctrl-C ends the process as the system does by default, without a traceback.
# A SIGINT that the caller ignores stays ignored.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from .cli.main import main

if __name__ == "__main__":
    main()
