"""The original system's HTTP interface: one request, one short process, on a socket that systemd holds."""
