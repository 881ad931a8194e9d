"""Conferences: parties of a carrier and a phone in one room, each heard by all but itself; muted, held, coached and let go with the platform's own package."""

import numpy as np
import pytest
from kit import audio, box, capture, sipp
from kit.appserver import Reply
from kit.wait import until
from test_documents import document
from test_rest import ThisBox
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

TONES = {"anna": 500, "ben": 740, "cora": 1130, "phone": 880}
CARRIERS = ("anna", "ben", "cora")
MUSIC_HZ = 1610
TALK_S = 2.0
WINDOW = 800


def tone(hz, seconds=1.0):
    """At a third of what G.711 takes, so that three of them fit."""
    return (9000 * np.sin(2 * np.pi * hz * np.arange(int(seconds * audio.RATE)) / audio.RATE)).astype(np.int16)


def present(samples, tones):
    """Whose tones are among the last second and a half, by windows of 100 ms, for a jitter buffer may shift what it plays. What is neither there nor away fails."""
    heard = samples[-int(1.5 * audio.RATE) :].astype(np.float64)
    windows = heard[: len(heard) // WINDOW * WINDOW].reshape(-1, WINDOW) * np.hanning(WINDOW)
    if len(windows) < 10:
        return set()
    turns = np.arange(WINDOW) / audio.RATE
    levels = {name: float(np.median(4 * abs(np.mean(windows * np.exp(-2j * np.pi * hz * turns), axis=1)))) for name, hz in tones.items()}
    assert all(level < 300 or level > 4000 for level in levels.values()), levels
    return {name for name, level in levels.items() if level > 4000}


class Room:
    """Carriers of these names, each with an address and a tone, who call the number of a document that knows them by their address."""

    def __init__(self, world, attributes=None, names=CARRIERS):
        self.world = world
        self.attributes = attributes or {}
        self.names = names
        self.hosts = {name: world.net.ip(31 + n) for n, name in enumerate(names)}

        def trunks(config):
            for name, ip in self.hosts.items():
                config["trunks"][name] = {"realm": "carrier", "address": f"{ip}:5060"}
                (world.folder / f"{name}.ul").write_bytes(audio.to_ulaw(tone(TONES[name])))

        self.box = world.start(trunks)
        self.client = Client(box.ACCOUNT, box.TOKEN, http_client=ThisBox(f"http://{self.box.config['api']['listen']}"))
        self.runs = {}
        self.legs = {}

        def voice(request):
            name = request.params["From"].removeprefix("+1555000")
            who = names[int(name)]
            self.legs[who] = request.params["CallSid"]
            common = 'statusCallback="/room" statusCallbackEvent="start end join leave mute hold modify"'
            given = self.attributes.get(who, "")
            common = "" if "statusCallbackEvent" in given else common
            return document(f'<Dial action="/after"><Conference participantLabel="{who}" {common} {given}>The room</Conference></Dial>')

        world.app["/voice"] = voice
        world.app["/room"] = world.app["/status"] = ""
        world.app["/after"] = document("<Hangup/>")

    def come(self, *names):
        for name in names:
            joined = len(self.box.events(type="conference.joined"))
            offer = sipp.sdp(port=sipp.PLAYED, formats=((0, "PCMU/8000"),) if name != "ben" else ((8, "PCMA/8000"),))
            path = self.world.folder / f"{name}.ul"
            if name == "ben":
                path = path.with_suffix(".al")
                path.write_bytes(audio.to_alaw(tone(TONES[name])))
            score = sipp.Score(user=f"+1555000{self.names.index(name)}").invite(offer).hear(100, 180, 183).expect(200).ack().play(path, 8 if name == "ben" else 0)
            score.expect("BYE", within_ms=50000).reply_in_dialog(200, "OK")
            self.runs[name] = self.world.caller(name, score, box.NUMBER_APP, local=self.hosts[name])
            self.box.until_event("conference.joined", joined + 1)
        return self

    @property
    def sid(self):
        return self.client.conferences.list(friendly_name="The room")[0].sid

    def hear(self):
        """Who hears whom for a while: what each was sent, as names."""
        packets = self.world.capture()
        # A capture sees what comes after it began: a length of speech, by the packets that the box sends.
        sent = self.box.status()["media"]["packets_sent"]
        until("two seconds of talk", lambda: self.box.status()["media"]["packets_sent"] - sent > TALK_S * 50 * self.box.status()["legs"], 15)
        seen = packets.stop()
        packets.path.unlink()
        tones = {**TONES, "music": MUSIC_HZ}
        return {name: present(capture.heard(seen, self.hosts[name]), tones) for name in self.runs}

    def told(self):
        return [r.params["StatusCallbackEvent"] for r in self.world.app.asked("/room")]

    def over(self):
        for run in self.runs.values():
            run.done()
        self.box.idle()


def test_each_hears_all_but_itself_and_is_muted_held_and_coached(world):
    room = Room(world).come("anna", "ben", "cora")
    audio.write_wav(world.folder / "music.wav", tone(MUSIC_HZ, 2))
    world.app["/music.wav"] = Reply((world.folder / "music.wav").read_bytes(), kind="audio/wav")
    assert room.hear() == {"anna": {"ben", "cora"}, "ben": {"anna", "cora"}, "cora": {"anna", "ben"}}
    (conference,) = room.client.conferences.list(status="in-progress")
    assert (conference.friendly_name, conference.sid[:2]) == ("The room", "CF")
    people = room.client.conferences(conference.sid).participants
    assert {p.label: p.status for p in people.list()} == {name: "connected" for name in CARRIERS}

    muted = people("anna").update(muted=True)
    assert (muted.muted, muted.hold, muted.call_sid) == (True, False, room.legs["anna"])
    assert [p.label for p in people.list(muted=True)] == ["anna"]
    assert room.hear() == {"anna": {"ben", "cora"}, "ben": {"cora"}, "cora": {"ben"}}

    held = people(room.legs["ben"]).update(hold=True, hold_url=world.app.url + "/music.wav")
    assert held.hold
    world.app.until_asked("/music.wav")
    until("the music to play", lambda: room.hear() == {"anna": {"cora"}, "ben": {"music"}, "cora": set()}, 20)
    people("ben").update(hold=False)
    people("anna").update(muted=False, coaching=True, call_sid_to_coach=room.legs["cora"])
    assert room.hear() == {"anna": {"ben", "cora"}, "ben": {"cora"}, "cora": {"anna", "ben"}}, "only cora hears her coach"
    with pytest.raises(TwilioRestException) as refused:
        people("anna").update(coaching=True, call_sid_to_coach=room.legs["anna"])
    assert refused.value.status == 400

    assert people("cora").delete()
    until("cora to be gone", lambda: len(people.list()) == 2)
    ended = room.client.conferences(conference.sid).update(status="completed")
    assert (ended.status, ended.reason_conference_ended) == ("completed", "conference-ended-via-api")
    room.over()
    want = [*["participant-join"] * 2, "conference-start", "participant-join", "participant-mute", "participant-hold", "participant-unhold", "participant-unmute",
            "participant-modify", *["participant-leave"] * 3, "conference-end"]
    until("the last callback", lambda: len(room.told()) >= len(want))
    assert room.told() == want
    after = world.app.asked("/after")
    assert len(after) == 3 and {r.params["DialCallStatus"] for r in after} == {"answered"}
    assert len(room.box.events(type="conference.ended")) == 1


def test_a_phone_is_dialed_into_the_conference_and_hears_and_is_heard(world):
    room = Room(world, {"anna": 'beep="false" endConferenceOnExit="true"'}, names=("anna",)).come("anna")
    phone = world.phone(sound=tone(TONES["phone"], 60))
    guest = room.client.conferences(room.sid).participants.create(from_="+15550009999", to="client:alice", label="guest", beep="false", early_media=True)
    assert guest.status in ("queued", "ringing", "connecting") and guest.label == "guest"
    phone.established()
    people = room.client.conferences(room.sid).participants
    until("the guest to be there", lambda: people("guest").fetch().status == "connected")
    assert room.hear() == {"anna": {"phone"}}
    room.client.calls(room.legs["anna"]).update(status="completed")
    phone.closed()
    room.over()
    assert present(phone.heard(), TONES) == {"anna"}
    (ended,) = room.client.conferences.list(status="completed")
    assert ended.reason_conference_ended == "participant-with-end-conference-on-exit-left" and ended.call_sid_ending_conference == room.legs["anna"]


def test_nobody_hears_another_before_it_starts(world):
    audio.write_wav(world.folder / "music.wav", tone(MUSIC_HZ, 2))
    world.app["/wait.wav"] = Reply((world.folder / "music.wav").read_bytes(), kind="audio/wav")
    waits = 'startConferenceOnEnter="false" beep="false" waitUrl="/wait.wav"'
    room = Room(world, {"anna": waits, "ben": waits, "cora": 'muted="true" beep="false"'}).come("anna", "ben")
    assert room.client.conferences(room.sid).fetch().status == "init"
    assert room.hear() == {"anna": {"music"}, "ben": {"music"}}
    room.come("cora")
    assert room.hear() == {"anna": {"ben"}, "ben": {"anna"}, "cora": {"anna", "ben"}}
    room.client.conferences(room.sid).update(status="completed")
    room.over()


def test_what_cannot_be_is_refused_by_name(world):
    room = Room(world, names=("anna",))
    with pytest.raises(TwilioRestException) as unknown:
        room.client.conferences("CF" + "0" * 32).fetch()
    assert unknown.value.status == 404
    for wrong, name in [({"max_participants": 251}, "MaxParticipants"), ({"beep": "loud"}, "Beep"), ({"conference_record": "record-from-start"}, "ConferenceRecord")]:
        with pytest.raises(TwilioRestException) as refused:
            room.client.conferences("new").participants.create(from_="+15550009999", to="client:alice", **wrong)
        assert refused.value.status == 400 and name in refused.value.msg
    assert not room.client.conferences.list()
    world.app["/voice"] = document('<Dial record="true"><Conference>x</Conference></Dial>')
    world.app["/fallback"] = document("<Hangup/>")
    score = sipp.Score(user="+15550000").invite(sipp.sdp()).hear(100, 180).either(603, 480, 200).hear()
    run = world.caller("anna", score, box.NUMBER_APP, local=room.hosts["anna"])
    (asked,) = world.app.until_asked("/fallback")
    assert asked.params["ErrorCode"] == "12200"
    run.stop()
    room.box.idle()


def test_it_is_recorded_with_all_who_are_heard(world):
    record = 'record="record-from-start" recordingStatusCallback="/kept" recordingStatusCallbackEvent="in-progress completed"'
    room = Room(world, {"anna": record, "cora": 'muted="true"'})
    world.app["/kept"] = ""
    room.come("anna", "ben", "cora")
    (begun,) = world.app.until_asked("/kept")
    recording = begun.params["RecordingSid"]
    file = world.folder / "state" / "recordings" / f"{recording}.wav"
    until("four seconds of it", lambda: file.exists() and file.stat().st_size > 4 * 16000)
    sid = room.sid
    room.client.conferences(sid).update(status="completed")
    room.over()
    kept = until("it to be whole", lambda: (all := world.app.asked("/kept")) and len(all) == 2 and all[1].params)
    assert (kept["RecordingStatus"], kept["ConferenceSid"], kept["RecordingSource"]) == ("completed", sid, "Conference")
    resource = room.client.recordings(recording).fetch()
    assert (resource.conference_sid, resource.status, resource.channels) == (sid, "completed", 1)
    assert present(audio.read_wav(file), TONES) == {"anna", "ben"}
    (ended,) = room.box.events(type="recording.ended")
    assert ended["data"]["lost"] == 0


def test_who_speaks_is_told(world):
    room = Room(world, {"anna": 'statusCallback="/room" statusCallbackEvent="speaker"', "ben": 'muted="true"'})
    room.come("anna", "ben", "cora")

    def spoken(word):
        return {r.params["ParticipantLabel"] for r in world.app.asked("/room") if r.params["StatusCallbackEvent"] == f"participant-speech-{word}"}

    until("both to be told", lambda: spoken("start") == {"anna", "cora"})
    assert not spoken("stop"), "a tone has no pauses"
    room.client.conferences(room.sid).participants("cora").update(muted=True)
    until("her end to be told", lambda: spoken("stop") == {"cora"})
    room.client.conferences(room.sid).update(status="completed")
    room.over()
    assert set(room.told()) == {"participant-speech-start", "participant-speech-stop"}
