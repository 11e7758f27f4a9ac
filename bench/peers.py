"""The same run with other clients, as in their documentation: `peers.py NAME BASE_URL MODE`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

KEY = "app-bench-0123456789"


def final_status(events: Iterable[Any]) -> Any:
    """Decode every event of a stream; return the status of its terminal event."""
    for event in events:
        data = json.loads(event) if isinstance(event, (bytes, str)) else event
        if data["event"] == "workflow_finished":
            return data["data"]["status"]
    return None


def data_of(lines: Iterable[bytes]) -> Iterable[bytes]:
    return (line[6:] for line in lines if line.startswith(b"data: "))


def post(base: str, mode: str) -> Any:
    import requests

    body = {"inputs": {}, "response_mode": mode, "user": "bench"}
    headers = {"Authorization": f"Bearer {KEY}"}
    return requests.post(f"{base}/workflows/run", json=body, headers=headers, stream=mode == "streaming")


def requests_loop(base: str, mode: str) -> Any:
    answer = post(base, mode)
    return (
        answer.json()["data"]["status"] if mode == "blocking" else final_status(data_of(answer.iter_lines()))
    )


def requests_sseclient(base: str, mode: str) -> Any:
    import sseclient

    return final_status(event.data for event in sseclient.SSEClient(post(base, mode)).events())


def dify_client(base: str, mode: str) -> Any:
    from dify_client import DifyClient

    client = DifyClient(KEY)
    client.base_url = base
    body = {"inputs": {}, "response_mode": mode, "user": "bench"}
    answer = client._send_request("POST", "/workflows/run", body, stream=mode == "streaming")  # noqa: SLF001 - it has no public method for workflows
    return (
        answer.json()["data"]["status"] if mode == "blocking" else final_status(data_of(answer.iter_lines()))
    )


def dify_client_python(base: str, mode: str) -> Any:
    sys.path.insert(0, str(Path(__file__).parent / ".venv/dify-client-python"))
    from dify_client import Client, models

    request = models.WorkflowsRunRequest(inputs={}, response_mode=models.ResponseMode(mode), user="bench")
    answer = Client(api_key=KEY, api_base=base).run_workflows(request)
    if mode == "blocking":
        return answer.data.status
    return next((dict(event.data)["status"] for event in answer if event.event == "workflow_finished"), None)


def dify_oapi2(base: str, mode: str) -> Any:
    from dify_oapi.api.workflow.v1.model.run_workflow_request import RunWorkflowRequest
    from dify_oapi.api.workflow.v1.model.run_workflow_request_body import RunWorkflowRequestBody
    from dify_oapi.api.workflow.v1.model.workflow_inputs import WorkflowInputs
    from dify_oapi.client import Client
    from dify_oapi.core.model.request_option import RequestOption

    body = RunWorkflowRequestBody.builder().inputs(WorkflowInputs()).response_mode(mode).user("bench").build()
    request = RunWorkflowRequest.builder().request_body(body).build()
    option = RequestOption.builder().api_key(KEY).build()
    client = Client.builder().domain(base.removesuffix("/v1")).build()
    if mode == "blocking":
        return client.workflow.v1.workflow.run(request, option).data.status
    rest = b""

    def lines() -> Iterable[bytes]:
        nonlocal rest
        for part in client.workflow.v1.workflow.run(request, option, True):
            *whole, rest = (rest + part).split(b"\n")
            yield from whole

    return final_status(data_of(lines()))


PEERS = {
    "requests": requests_loop,
    "requests + sseclient-py": requests_sseclient,
    "dify-client": dify_client,
    "dify-client-python": dify_client_python,
    "dify-oapi2": dify_oapi2,
}

if __name__ == "__main__":
    _, name, base_url, mode = sys.argv
    sys.exit(PEERS[name](base_url, mode) != "succeeded")
