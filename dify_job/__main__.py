"""`python -m dify_job`."""

from .cli.main import main

main()
