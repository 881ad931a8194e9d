"""Calls recorded: messages, both parties on two channels, by REST with the platform's own package; a disk that fills up."""

import io
import json
import subprocess
import wave

import numpy as np
import pytest
from conftest import CARRIER_SOUND, PHONE_SOUND
from kit import audio, box, sip, sipp, speech
from kit.listener import Listener
from kit.wait import until
from pesq import pesq
from test_documents import document


def talks(world, ms=3000):
    """The carrier calls the application's number, speaks, and hangs up."""
    offer = sipp.sdp(port=sipp.PLAYED, formats=((0, "PCMU/8000"),))
    score = sipp.Score().invite(offer).hear(100, 180, 183).expect(200).ack().play(world.folder / "carrier.ul")
    return score.pause(ms).bye().expect(200)


def fetched(daemon, sid):
    """The channels of a recording, by REST, once it is whole."""
    path = f"/2010-04-01/Accounts/{box.ACCOUNT}/Recordings/{sid}"
    whole = until("the recording to be whole", lambda: (r := json.loads(daemon.rest("GET", path + ".json")[1]))["status"] == "completed" and r)
    status, body = daemon.rest("GET", path + ".wav")
    assert status == 200
    with wave.open(io.BytesIO(body)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, whole["channels"])
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert abs(len(samples) / whole["channels"] / 8000 - float(whole["duration"])) <= 1
    return whole, [samples[n :: whole["channels"]] for n in range(whole["channels"])]


def is_in(heard, sound, seconds):
    match = audio.compare(heard, sound)
    assert match.seconds >= seconds, match


def test_a_message_is_recorded_until_a_key_and_its_action_asked(world):
    daemon = world.start()
    world.app["/voice"] = document('<Record maxLength="20" finishOnKey="#" action="/message" recordingStatusCallback="/kept"/><Hangup/>')
    world.app["/message"] = document("<Hangup/>")
    offer = sipp.sdp(port=sipp.PLAYED, formats=((0, "PCMU/8000"),))
    score = sipp.Score().invite(offer).hear(100, 180).expect(200).ack().play(world.folder / "carrier.ul").pause(2500)
    score.request("INFO", "Signal=#\nDuration=160").expect(200)
    score.steps[-2] = score.steps[-2].replace("Content-Type: application/sdp", "Content-Type: application/dtmf-relay")
    world.caller("acme", score.expect("BYE", within_ms=12000).reply_in_dialog(200, "OK"), box.NUMBER_APP).done()
    (asked,) = world.app.until_asked("/message")
    assert asked.params["Digits"] == "#" and 1 <= int(asked.params["RecordingDuration"]) <= 4
    sid = asked.params["RecordingSid"]
    assert asked.params["RecordingUrl"].endswith(f"/Recordings/{sid}")
    (kept,) = world.app.until_asked("/kept")
    assert (kept.params["RecordingStatus"], kept.params["RecordingSource"]) == ("completed", "RecordVerb")
    _, (heard,) = fetched(daemon, sid)
    is_in(heard, CARRIER_SOUND, 1.2)
    daemon.idle()
    assert daemon.events(type="recording.ended")


def test_silence_is_no_message(world):
    daemon = world.start()
    world.app["/voice"] = document('<Record timeout="1" playBeep="false" recordingStatusCallback="/kept" recordingStatusCallbackEvent="absent"/><Hangup/>')
    score = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().expect("BYE", within_ms=12000).reply_in_dialog(200, "OK")
    world.caller("acme", score, box.NUMBER_APP).done()
    (kept,) = world.app.until_asked("/kept")
    assert kept.params["RecordingStatus"] == "absent"
    daemon.idle()
    assert not list((world.folder / "state" / "recordings").iterdir())


@pytest.mark.parametrize("srtp", ["off", "required", "dtls"])
def test_both_parties_of_a_dial_are_recorded_side_by_side(world, srtp):
    daemon = world.start(lambda config: config["users"]["alice"].update(srtp=srtp))
    world.app["/voice"] = document('<Dial record="record-from-answer-dual" recordingStatusCallback="/kept"><Client>alice</Client></Dial>')
    phone = world.phone(**{"off": {}, "required": {"srtp": True}, "dtls": {"dtls": True}}[srtp])
    world.caller("acme", talks(world, 3500), box.NUMBER_APP).done()
    phone.closed()
    (kept,) = world.app.until_asked("/kept")
    assert kept.params["RecordingChannels"] == "2"
    whole, (left, right) = fetched(daemon, kept.params["RecordingSid"])
    assert whole["source"] == "DialVerb"
    is_in(left, CARRIER_SOUND, 2)
    is_in(right, PHONE_SOUND, 1.5)
    daemon.idle()
    # The call itself was relayed as ever.
    is_in(phone.heard(), CARRIER_SOUND, 2)


def test_the_package_records_pauses_stops_lists_and_deletes(world):
    twilio = pytest.importorskip("twilio.rest")
    daemon = world.start()
    client = twilio.Client(box.ACCOUNT, box.TOKEN)
    client.api.base_url = "http://" + daemon.config["api"]["listen"]
    world.app["/voice"] = document("<Pause length='1'/><Play loop='0'>/long.wav</Play>")
    audio.write_wav(world.folder / "long.wav", PHONE_SOUND)
    from kit.appserver import Reply

    world.app["/long.wav"] = Reply((world.folder / "long.wav").read_bytes(), kind="audio/wav")
    run = world.caller("acme", talks(world, 6000), box.NUMBER_APP)
    (started,) = daemon.until_event("play.started")
    call = started["call"]
    made = client.calls(call).recordings.create(recording_channels="dual")
    assert made.status == "in-progress"
    client.calls(call).recordings("Twilio.CURRENT").update(status="paused", pause_behavior="skip")
    assert client.recordings(made.sid).fetch().status == "paused"
    client.calls(call).recordings(made.sid).update(status="in-progress")
    until("two seconds of it", lambda: (world.folder / "state" / "recordings" / f"{made.sid}.wav").stat().st_size > 64_000 if (world.folder / "state" / "recordings" / f"{made.sid}.wav").exists() else False)
    client.calls(call).recordings(made.sid).update(status="stopped")
    _, (left, right) = fetched(daemon, made.sid)
    is_in(left, CARRIER_SOUND, 1)
    is_in(right, PHONE_SOUND, 1)
    assert [r.sid for r in client.calls(call).recordings.list()] == [made.sid] == [r.sid for r in client.recordings.list()]
    run.done()
    assert client.recordings(made.sid).delete()
    assert daemon.rest("GET", f"/2010-04-01/Accounts/{box.ACCOUNT}/Recordings/{made.sid}.json")[0] == 404
    assert not list((world.folder / "state" / "recordings").iterdir())
    daemon.idle()


def test_a_full_disk_ends_the_recording_and_the_call_goes_on(world):
    small = world.folder / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", small], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no right to mount: {mounted.stderr}")
    try:
        daemon = world.start(lambda config: config.update(recordings={"folder": str(small)}))
        world.app["/voice"] = document('<Dial record="record-from-answer" recordingStatusCallback="/kept"><Client>alice</Client></Dial>')
        phone = world.phone()
        world.caller("acme", talks(world, 6000), box.NUMBER_APP).done()
        (failed,) = daemon.until_event("recording.failed")
        assert "space" in failed["data"]["why"], failed
        phone.closed()
        daemon.idle()
        (kept,) = world.app.until_asked("/kept")
        # What was written before is there.
        assert (kept.params["RecordingStatus"], kept.params["ErrorCode"]) == ("completed", "13223")
        _, (heard,) = fetched(daemon, kept.params["RecordingSid"])
        assert len(heard) >= 8000
        is_in(phone.heard(), CARRIER_SOUND, 4)
        daemon.stop()
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_killed_daemon_leaves_a_file_that_can_be_read(world):
    daemon = world.start()
    world.app["/voice"] = document('<Dial record="record-from-answer-dual"><Client>alice</Client></Dial>')
    world.phone()
    run = world.caller("acme", talks(world, 8000), box.NUMBER_APP)
    folder = world.folder / "state" / "recordings"
    until("two seconds of it", lambda: [path for path in folder.glob("RE*.wav") if path.stat().st_size > 64_000])
    daemon.kill()
    run.stop()
    (path,) = folder.glob("RE*.wav")
    with wave.open(str(path)) as file:
        assert file.getnframes() >= 16_000
    daemon.start()
    whole, (left, _) = fetched(daemon, path.stem)
    assert float(whole["duration"]) >= 2 and whole["error_code"] == 13223
    is_in(left, CARRIER_SOUND, 1)


@pytest.mark.parametrize("codec, least", [("96 opus/48000/2", 3.9), ("9 G722/8000", 3.9), ("18 G729/8000", 2.9)])
def test_every_codec_that_is_converted_is_recorded_and_sent_to_a_server_as_it_sounds(world, codec, least):
    daemon = world.start()
    server = Listener(world.net.servers)
    world.app["/voice"] = document(f'<Start><Stream url="{server.url}"/></Start><Record playBeep="false" trim="do-not-trim" maxLength="30"/>')
    name = codec.split()[1].split("/")[0]
    voice = {rate: speech.person(rate) if name == "G729" else speech.spoken(world.folder, rate) for rate in (8000, 16000)}
    said = voice[8000][: 5 * 8000]
    lead = np.zeros(8000, np.int16)
    payloads = {
        "opus": lambda: speech.opus(np.concatenate([lead, said])),
        "G722": lambda: speech.g722(world.folder, np.concatenate([lead, lead, voice[16000][: 5 * 16000]])),
        "G729": lambda: speech.g729(np.concatenate([lead, said])),
    }[name]()
    near = sip.Raw(world.net.carrier)
    line = speech.Line(near.local, 6000)
    body = speech.description(near.local, 6000, (codec,))
    near.send(near.request("INVITE", f"sip:{box.NUMBER_APP}@{world.net.box_carrier}", ("Content-Type: application/sdp",), body), world.net.box_carrier)
    answer = near.final()
    assert sip.status(answer) == 200, answer
    near.send(speech.in_dialog(near, answer, "ACK", 1), world.net.box_carrier)
    daemon.until_event("fork.started")
    line.say(speech.media(answer), payloads, (), int(codec.split()[0]), 960 if name == "opus" else 160)
    near.send(speech.in_dialog(near, answer, "BYE", 2), world.net.box_carrier)
    assert sip.status(near.final()) == 200
    line.close()
    (ended,) = daemon.until_event("recording.ended")
    _, (recorded,) = fetched(daemon, ended["data"]["recording"])
    (sent,) = server.until_closed()
    daemon.idle()
    server.stop()
    for heard in (recorded, sent.track("inbound")):
        assert pesq(8000, said, heard, "nb") >= least, (codec, len(heard))
    (fork,) = daemon.until_event("fork.ended")
    assert (fork["data"]["lost"], ended["data"]["lost"]) == (0, 0)
