"""A connection that was not made: what mends it (pure)."""

from ..messages.message import msg


def connection_error_hint(why: str) -> str:
    """What mends a connection that was not made, by the words of dify/transport."""
    if why.startswith("proxy: "):
        return msg("check HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY")
    if why.startswith("no thread can be started"):
        return msg("raise the limit of processes and threads: ulimit -u, TasksMax= of the unit")
    if "certificate is not trusted" not in why:
        return msg("check base_url (dify-job config show {job}), and that Dify is up", job="JOB")
    if "expired" in why:
        return msg("renew the certificate on the server")
    if "mismatch" in why:
        return msg("set base_url to a name that the certificate is for")
    return msg("set ca_file in the job to the PEM file of the authority that signed it")
