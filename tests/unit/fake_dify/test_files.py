"""Uploads of the fake Dify server."""

import pytest

from tests.support.fake_dify.files import Upload, Uploads


@pytest.mark.parametrize(
    ("user", "key", "visible"),
    [("u", "k", True), ("another", "k", False), ("u", "another", False), ("another", "another", False)],
)
def test_upload_is_visible_to_its_user_and_app(user: str, key: str, visible: bool) -> None:
    uploads = Uploads({"id": Upload("a.txt", "text/plain", 1, "u", b"x", "k")})
    assert bool(uploads.of(user, key).found) is visible


def test_upload_without_owner_is_visible_to_all() -> None:
    uploads = Uploads({"id": Upload("a.txt", "text/plain", 1, None, b"x")})
    assert uploads.of("u", "k").found
