"""The apps that a stand-in serves: frozen values, from the key to the last node."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """One node: it takes `seconds`; an error fails it, and with `absorbed` the run goes on in part.

    pauses: it waits for a human. stops: somebody stops the run there.
    """

    title: str
    seconds: float = 0.0
    node_type: str = "code"
    text: str = ""
    tokens: int = 0
    error: str | None = None
    absorbed: bool = False
    pauses: bool = False
    stops: bool = False


@dataclass(frozen=True, slots=True)
class App:
    """One app, found by its key. outputs: fixed ones; without them the run's inputs come back.

    refuses: an `error` event in place of a run (code, message, status). limit: runs at a time, 0 for none.
    """

    key: str
    name: str = "Stand-in"
    mode: str = "workflow"
    nodes: tuple[Node, ...] = (Node("Start", node_type="start"), Node("End", node_type="end"))
    form: tuple[Mapping[str, Any], ...] = ()
    outputs: Mapping[str, Any] | None = None
    published: bool = True
    api_enabled: bool = True
    limit: int = 0
    refuses: Mapping[str, Any] = field(default_factory=dict)


DEMO = App(
    key="app-standin-demo",
    name="Daily report",
    nodes=(
        Node("Start", node_type="start"),
        Node("Read the figures", 0.6, "http-request"),
        Node("Write the report", 1.2, "llm", "Sales rose by 3 %. ", 412),
        Node("End", node_type="end"),
    ),
    form=({"text-input": {"variable": "topic", "label": "Topic", "required": True, "max_length": 48}},),
)
