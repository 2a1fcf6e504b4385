"""Who may see what at the admin address: what is refused at a start, and what is pointed out."""

from __future__ import annotations

import ssl

import pytest

from enricher.access import Access, exposures, read_access
from enricher.config import AdminSettings
from enricher.errors import ConfigError
from tests.certificate import ENCRYPTED_KEY, OTHER_KEY, write_pair

TOKEN = "a-token-of-more-than-16"
SECRET = "whsec_" + "QUJD" * 8


def test_nothing_is_set_by_default():
    assert Access(token=None, webhook_key=None, tls=None) == read_access(AdminSettings(), {})


def test_token_secret_and_certificate_are_read_and_not_shown(tmp_path):
    certificate, key = write_pair(tmp_path)
    settings = AdminSettings(tls_certificate=str(certificate), tls_key=str(key))
    access = read_access(settings, {"ENRICHER_ADMIN_TOKEN": TOKEN, "OPENAI_WEBHOOK_SECRET": SECRET})
    assert (TOKEN, b"ABC" * 8, ssl.TLSVersion.TLSv1_2) == (access.token, access.webhook_key, access.tls.minimum_version)
    assert TOKEN not in repr(access)
    assert "ABC" not in repr(access)


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({"ENRICHER_ADMIN_TOKEN": "short"}, "a token of fewer than 16 characters can be found out"),
        ({"OPENAI_WEBHOOK_SECRET": "whsec_hunter2"}, "what follows whsec_ is not base64"),
        ({"OPENAI_WEBHOOK_SECRET": "hunter2"}, "is shorter than 16 bytes"),
    ],
)
def test_secret_that_protects_nothing_is_refused_and_not_shown(environment, fault):
    with pytest.raises(ConfigError, match=fault) as caught:
        read_access(AdminSettings(), environment)
    assert caught.value.hint
    assert next(iter(environment)) in str(caught.value)
    assert not {"short'", "hunter2"} & set(str(caught.value).split())


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("key.pem", OTHER_KEY, "key values mismatch"),
        ("key.pem", ENCRYPTED_KEY, "admin.tls_key: is encrypted"),
        ("key.pem", "", "cannot be used"),
        ("certificate.pem", "nonsense", "cannot be used"),
        ("certificate.pem", None, "admin.tls_certificate: .*: cannot be read: No such file"),
        ("key.pem", None, "admin.tls_key: .*: cannot be read: No such file"),
    ],
)
def test_certificate_that_cannot_be_used_is_refused_and_says_why(tmp_path, name, text, fault):
    certificate, key = write_pair(tmp_path)
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=fault) as caught:
        read_access(AdminSettings(tls_certificate=str(certificate), tls_key=str(key)), {})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("listen", "token", "has_tls", "expected"),
    [
        ("127.0.0.1:9464", None, False, None),
        ("[::1]:9464", None, False, None),
        ("0.0.0.0:9464", None, False, "whoever reaches 0.0.0.0:9464 may read /metrics"),
        ("0.0.0.0:9464", None, True, "whoever reaches 0.0.0.0:9464 may read /metrics"),
        ("logs.example:9464", TOKEN, False, "the token goes to logs.example:9464 in the clear"),
        ("0.0.0.0:9464", TOKEN, True, None),
    ],
)
def test_what_others_could_read_is_pointed_out(listen, token, has_tls, expected):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if has_tls else None
    found = exposures(AdminSettings(listen=listen), Access(token=token, webhook_key=None, tls=tls))
    assert [expected] * len(found) == [expected for text, hint in found if expected in text and hint]
    assert len(found) == (expected is not None)
