"""All commands of dify-job."""

from collections.abc import Iterator

import click

from dify_job.cli.main import cli


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, group
    context = click.Context(group, info_name="dify-job")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(_commands(cli, ()))  # by the words after dify-job; the empty path is dify-job itself
