"""The REST API, driven by the `twilio` package with nothing changed but its base URL."""

import re

import pytest
from kit import box, sipp
from kit.wait import until
from test_documents import OFFER, document
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client


class ThisBox(TwilioHttpClient):
    """Sends every request to the box instead of the vendor's host."""

    def __init__(self, base):
        super().__init__(timeout=20)
        self.base = base

    def request(self, method, url, **rest):
        return super().request(method, re.sub(r"^https://[^/]+", self.base, url), **rest)


@pytest.fixture
def client(world):
    world.start(lambda c: c["routes"].insert(0, {"name": "rest", "from": "users", "prefix": "+44", "to": {"trunk": "zeta"}}))
    return Client(box.ACCOUNT, box.TOKEN, http_client=ThisBox(f"http://{world.box.config['api']['listen']}"))


def answering(world, then="postern", **options):
    """zeta answers; the call is ended by us or by it."""
    score = sipp.Score().expect("INVITE").reply(180).reply(200, "OK", OFFER).expect("ACK")
    score = score.expect("BYE", within_ms=25000).reply_in_dialog(200, "OK") if then == "postern" else score.pause(300).bye().expect(200)
    return world.callee("zeta", score, media_port=7000, **options)


def test_create_fetch_and_end(world, client):
    far = answering(world)
    world.app["/voice"] = document('<Pause length="30"/>')
    call = client.calls.create(to="+442070000001", from_="+15550009999", url=world.app.url + "/voice", status_callback=world.app.url + "/status",
                               status_callback_event=["initiated", "ringing", "answered", "completed"])
    assert re.fullmatch("CA[0-9a-f]{32}", call.sid) and call.status in ("queued", "ringing") and call.direction == "outbound-api"
    until("the call to be answered", lambda: client.calls(call.sid).fetch().status == "in-progress")
    live = client.calls(call.sid).fetch()
    assert (live.to, live._from, live.account_sid) == ("+442070000001", "+15550009999", box.ACCOUNT)
    assert live.start_time is not None and live.end_time is None
    ended = client.calls(call.sid).update(status="completed")
    assert ended.sid == call.sid
    far.done()
    done = until("the call to be over", lambda: (c := client.calls(call.sid).fetch()).status == "completed" and c)
    assert done.end_time is not None and int(done.duration) >= 0
    until("the last callback", lambda: len(world.app.asked("/status")) == 4)
    assert [r.params["CallStatus"] for r in world.app.asked("/status")] == ["initiated", "ringing", "in-progress", "completed"]
    world.box.idle()


def test_redirect_a_live_call(world, client):
    far = answering(world)
    world.app["/voice"] = document('<Pause length="30"/>')
    world.app["/other"] = document("<Hangup/>")
    call = client.calls.create(to="+442070000001", from_="+15550009999", url=world.app.url + "/voice")
    until("the call to be answered", lambda: client.calls(call.sid).fetch().status == "in-progress")
    world.app.until_asked("/voice")
    client.calls(call.sid).update(url=world.app.url + "/other", method="POST")
    far.done()
    assert len(world.app.asked("/other")) == 1
    world.box.idle()


def test_a_document_in_the_request(world, client):
    far = answering(world)
    client.calls.create(to="+442070000001", from_="+15550009999", twiml="<Response><Pause length='1'/><Hangup/></Response>")
    far.done()
    world.box.idle()


def test_cancel_while_it_rings(world, client):
    from test_routes import cancelled_callee

    far = world.callee("zeta", cancelled_callee(), media_port=7000)
    call = client.calls.create(to="+442070000001", from_="+15550009999", url=world.app.url + "/voice")
    until("it to ring", lambda: client.calls(call.sid).fetch().status == "ringing" and world.box.events(type="leg.ringing"))
    client.calls(call.sid).update(status="canceled")
    far.done()
    until("it to be canceled", lambda: client.calls(call.sid).fetch().status == "canceled")
    world.box.idle()


def test_list_and_page(world, client):
    far = answering(world, then="far", calls=7)
    world.app["/voice"] = document('<Pause length="20"/>')
    sids = [client.calls.create(to=f"+44207000000{n}", from_="+15550009999", url=world.app.url + "/voice").sid for n in range(7)]
    far.done()
    world.box.idle()
    until("all records", lambda: len(client.calls.list()) == 7)
    assert {c.sid for c in client.calls.list()} == set(sids)
    assert len(client.calls.list(page_size=2)) == 7  # four pages, walked by the SDK
    assert len(client.calls.list(limit=3)) == 3
    assert [c.to for c in client.calls.list(to="+442070000003")] == ["+442070000003"]
    assert len(client.calls.list(status="completed")) == 7 and client.calls.list(status="busy") == []


@pytest.mark.parametrize("what, code", [
    (lambda c: c.calls("CA" + "0" * 32).fetch(), 20404),
    (lambda c: c.calls.create(to="nonsense to", from_="+15550009999", url="http://127.0.0.1/x"), 21211),
    (lambda c: c.calls("CA" + "0" * 32).update(status="completed"), 20404),
], ids=["unknown", "bad-to", "unknown-update"])
def test_errors_are_told_in_the_platforms_words(world, client, what, code):
    with pytest.raises(TwilioRestException) as error:
        what(client)
    assert error.value.code == code


def test_a_wrong_token_is_refused(world, client):
    wrong = Client(box.ACCOUNT, "not-the-token", http_client=client.http_client)
    with pytest.raises(TwilioRestException) as error:
        wrong.calls("CA" + "0" * 32).fetch()
    assert (error.value.status, error.value.code) == (401, 20003)


def test_updating_a_finished_call_is_refused(world, client):
    far = answering(world, then="far")
    call = client.calls.create(to="+442070000001", from_="+15550009999", twiml="<Response><Pause length='20'/></Response>")
    far.done()
    world.box.idle()
    until("its record", lambda: client.calls(call.sid).fetch().status == "completed")
    with pytest.raises(TwilioRestException) as error:
        client.calls(call.sid).update(status="completed")
    assert error.value.code == 21220
