"""Names that people know from other tools, and the commands that do it here."""

from collections.abc import Sequence

from ..messages.message import msg
from ..messages.problem import command
from ..schedulers import systemctl


def redirect(words: Sequence[str]) -> str | None:
    """Return a hint for a command that does not exist by this name.

    Args:
        words: The mistaken command and its arguments.

    """
    jobs = [word for word in words[1:] if not word.startswith("-")] or ["JOB"]
    by_systemd = ("systemctl", "start", f"dify-job-{jobs[0]}.service")
    start = command(*(by_systemd if systemctl.is_booted() else ("dify-job", "run", jobs[0])))
    match words[0]:
        case "list" | "ls" | "jobs":
            return command("dify-job", "status")
        case "start":
            return msg(
                "{run} runs it once, now; {resume} enables its schedule",
                run=start,
                resume=command("dify-job", "resume", *jobs),
            )
        case "restart":
            return msg(
                "{stop}, then {start}",
                stop=command("dify-job", "stop", *jobs),
                start=start,
            )
        case "enable":
            return command("dify-job", "resume", *jobs)
        case "disable":
            return command("dify-job", "pause", *jobs)
        case "remove" | "rm" | "delete":
            return command("dify-job", "uninstall", *jobs)
        case "edit":
            return msg(
                "{show} names the file that sets each key; edit it, then {install}",
                show=command("dify-job", "config", "show", *jobs[:1]),
                install=command("dify-job", "install", *jobs),
            )
    return None
