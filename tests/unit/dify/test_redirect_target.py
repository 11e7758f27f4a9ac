"""Addresses to which the client follows a redirect with the key."""

import pytest
import requests

from dify_job.dify.client import _redirect_target


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("/v1/workflows/run/", "http://xn--bcher-kva.example/v1/workflows/run/"),
        ("http://BÜCHER.example:80/v1", "http://xn--bcher-kva.example:80/v1"),
        ("http://bücher.example:81/v1", None),
        ("https://bücher.example/v1", None),
        ("http://elsewhere\\@bücher.example/v1", None),
        ("http://elsewhere#@bücher.example/v1", None),
        ("//[", None),
        ("", None),
    ],
)
def test_redirect_is_followed_to_the_same_origin_only(location: str, followed: str | None) -> None:
    response = requests.Response()
    response.headers["Location"] = location
    assert _redirect_target(response, "http://bücher.example/v1/workflows/run") == followed
