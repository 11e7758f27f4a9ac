"""One-shot runs of Dify workflows for the operating system's own scheduler."""

__version__ = "0.1.0"
