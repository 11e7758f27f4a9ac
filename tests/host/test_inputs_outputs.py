"""Inputs, files and outputs of a system job inside the whole sandbox of its unit."""

import json

from tests.support.fake_dify.apps import App
from tests.support.fake_dify.files import returned

from .conftest import CANARY, Host

FORM = (
    {"text-input": {"variable": "since", "max_length": 48}},
    {"text-input": {"variable": "region", "max_length": 48}},
    {"file": {"variable": "report", "allowed_file_types": ["document"]}},
)


def test_templates_files_outputs_downloads_and_expect_work_in_the_sandbox(host: Host) -> None:
    host.run("useradd", "--system", "reports", check=False)
    host.run("install", "-d", "-o", "reports", "/srv/in", "/srv/out")
    host.machine.write("/srv/in/daily.txt", "figures", 0o640, "reports")
    url = "/files/tools/1.pdf?sign=x"
    host.server.files[url] = ("application/pdf", b"%PDF")
    outputs = {"result": "OK: done", "file": returned("chart.pdf", "application/pdf", 4, url)}
    host.server.apps[CANARY] = App(CANARY, form=FORM, outputs=outputs)
    host.job(
        'calendar = "yearly"\nrun_as = "reports"\nenv = ["REGION"]\n'
        "inputs = { since = \"{{ last_success or 'ever' }}\", region = \"{{ env('REGION', 'eu') }}\" }\n"
        'files = { report = "/srv/in/{{ job }}.txt" }\n'
        'output = { file = "/srv/out/{{ job }}.txt", select = "outputs.result", mode = "0640", '
        "downloads = true }\n"
        'expect = { "outputs.result" = { regex = "^OK" } }\n'
        'log_outputs = "1kB"\n'
    )
    host("install")
    for _ in range(2):
        host.run("systemctl", "start", "dify-job-daily.service", check=False)
        journal = host.run("journalctl", "--no-pager", "-u", "dify-job-daily.service").stdout
        assert host.show("dify-job-daily.service", "Result") == "success", journal
    assert host.machine.read("/srv/out/daily.txt") == "OK: done"
    assert host.machine.read("/srv/out/chart.pdf") == "%PDF"
    assert host.run("stat", "-c", "%a %U", "/srv/out/daily.txt").stdout.split() == ["640", "reports"]
    first, second = (run.inputs for run in host.server.runs)
    assert (first["since"], first["region"]) == ("ever", "eu")
    assert second["since"].startswith("20"), "when the last good run began"
    [upload] = {upload.content for upload in host.server.uploads.found.values()}
    assert upload == b"figures"
    [entry, _] = host.journal("-u", "dify-job-daily.service", "DIFY_OUTCOME=succeeded")
    assert json.loads(entry["DIFY_OUTPUTS"])["result"] == "OK: done"

    host.machine.run("rm", "/srv/in/daily.txt")
    host.run("systemctl", "start", "dify-job-daily.service", check=False)
    assert host.show("dify-job-daily.service", "ExecMainStatus") == "66"
    assert host.status()["last"]["outcome"] == "no-input", "what ended before its turn is a result too"
    host.run("rm", "-r", "/srv/in", "/srv/out")
