"""Apps of the fake server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a workflow.

    Attributes:
        title: Title.
        seconds: Duration.
        node_type: Type, as in events.
        text: Text that it streams, a chunk per word.
        tokens: Tokens that it uses.
        error: Error message; the node fails with it.
        absorbed: The run continues after the error, and ends as partial success.
        pauses: The node waits for a human.
        stops: The run is stopped at the node.
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
    """An app.

    Attributes:
        key: API key.
        name: Name.
        mode: Mode; only "workflow" has runs.
        nodes: Nodes in their order.
        form: Input form, as in /parameters.
        outputs: Outputs of each run; None returns the inputs.
        published: A version is published.
        api_enabled: The API of the app is enabled.
        limit: Simultaneous runs; 0 for no limit.
    """

    key: str
    name: str = "Fake app"
    mode: str = "workflow"
    nodes: tuple[Node, ...] = (Node("Start", node_type="start"), Node("End", node_type="end"))
    form: tuple[Mapping[str, Any], ...] = ()
    outputs: Mapping[str, Any] | None = None
    published: bool = True
    api_enabled: bool = True
    limit: int = 0


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
