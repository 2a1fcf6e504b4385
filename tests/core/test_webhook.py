"""Webhooks: what is signed is believed, and nothing else; checked against the client of OpenAI both ways."""

from __future__ import annotations

import base64
import json
import time

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enricher.core import webhook
from enricher.core.webhook import SeenIds, ended_batch, fault_of, sign, to_key

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
KEY = to_key(SECRET)
NOW = 1_800_000_000
BODY = b'{"id":"evt_1","object":"event","type":"batch.completed","created_at":1,"data":{"id":"batch_1"}}'


def signed(body=BODY, *, webhook_id="wh_1", timestamp=NOW, key=KEY):
    signature = sign(key, webhook_id=webhook_id, timestamp=timestamp, body=body)
    return {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def test_what_we_sign_is_what_the_client_of_openai_verifies():
    client = openai.OpenAI(api_key="sk-x", webhook_secret=SECRET)
    event = client.webhooks.unwrap(BODY, signed(timestamp=int(time.time())))
    assert ("batch.completed", "batch_1") == (event.type, event.data.id)


def test_the_example_of_standard_webhooks_is_verified():
    """Its secret, id, time, body and signature, as the specification and its libraries print them."""
    key = to_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    head = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert "" == fault_of(key, head, b'{"test": 2432232314}', now=1614265330.0)


@pytest.mark.parametrize(("offset", "fault"), [(0, ""), (300, ""), (-300, ""), (301, "untimely"), (-301, "untimely")])
def test_date_may_be_five_minutes_off_either_way(offset, fault):
    assert fault == fault_of(KEY, signed(), BODY, now=NOW + offset)


def test_one_good_signature_among_others_is_enough_while_a_secret_is_replaced():
    head = signed()
    head["webhook-signature"] = "v1a,abc v1, v1,AAAA " + head["webhook-signature"]
    assert "" == fault_of(KEY, head, BODY, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": "v1,"},
        {"webhook-signature": sign(b"another key of 16", webhook_id="wh_1", timestamp=NOW, body=BODY)},
        {"webhook-signature": sign(KEY, webhook_id="wh_1", timestamp=NOW, body=BODY).removeprefix("v1,")},
        {"webhook-signature": "v1,\udcff"},
        {"webhook-id": "wh_2"},
        {"webhook-timestamp": str(NOW + 1)},
    ],
)
def test_what_differs_from_what_was_signed_is_forged(change):
    assert "forged" == fault_of(KEY, signed() | change, BODY, now=NOW)


@given(st.data())
def test_no_other_body_passes_under_a_signature(data):
    place = data.draw(st.integers(0, len(BODY) - 1))
    other = BODY[:place] + bytes([BODY[place] ^ data.draw(st.integers(1, 255))]) + BODY[place + 1 :]
    assert "forged" == fault_of(KEY, signed(), other, now=NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", " ", "1e9", "-1", "a b", "٣", "9" * 13, "x" * 300, "\udcff"])
def test_missing_and_malformed_headers_are_no_signature(name, value):
    head = {key: one for key, one in (signed() | {name: value}).items() if one is not None}
    fault = fault_of(KEY, head, BODY, now=NOW)
    assert fault in ({"unsigned"} if value in (None, "") else {"unsigned", "forged"})


@pytest.mark.parametrize("secret", ["", "short", "whsec_", "whsec_AAAA", "whsec_no base64", "whsec_é", "whsec_abc"])
def test_secret_that_is_none_is_refused_and_not_shown(secret):
    with pytest.raises(ValueError, match=r"base64|shorter") as caught:
        to_key(secret)
    assert secret.removeprefix("whsec_") in ("", "short") or secret not in str(caught.value)


def test_secret_without_its_prefix_is_the_key_itself():
    assert b"sixteen-letters!" == to_key("sixteen-letters!")


@pytest.mark.parametrize("kind", ["completed", "failed", "expired", "cancelled"])
def test_batch_is_taken_from_each_event_about_one(kind):
    assert "batch_1" == ended_batch(json.dumps({"type": f"batch.{kind}", "data": {"id": "batch_1"}}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff", b"[]", b"{}", b"null", b"[" * 60_000, b'{"type":"response.completed","data":{"id":"resp_1"}}',
        b'{"type":"batch.completed"}', b'{"type":"batch.completed","data":{}}', b'{"type":["batch.completed"]}',
        b'{"type":"batch.completed","data":{"id":7}}', b'{"type":"batch.completed","data":{"id":"../a b\\n"}}',
        b'{"type":"batch.completed","data":{"id":"' + b"x" * 300 + b'"}}',
    ],
)  # fmt: skip
def test_anything_else_is_about_no_batch(body):
    assert ended_batch(body) is None


def test_id_is_new_once():
    seen = SeenIds()
    assert seen.is_new("a", now=0.0)
    assert not seen.is_new("a", now=599.0)
    assert seen.is_new("b", now=599.0)


def test_id_is_remembered_for_as_long_as_its_date_is_believed():
    """One that is dated 300 s ahead is believed for 600 s."""
    seen = SeenIds()
    assert seen.is_new("a", now=0.0)
    assert not seen.is_new("a", now=600.0)
    assert seen.is_new("a", now=600.1)


def test_ids_are_bounded_and_the_oldest_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(webhook, "_MAX_REMEMBERED", 3)
    seen = SeenIds()
    assert [True, True, True, False, True, False, False, True] == [seen.is_new(one, now=0.0) for one in "abcadcba"]
