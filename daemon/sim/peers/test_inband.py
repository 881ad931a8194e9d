"""Digits that are tones in the audio, with speech around them: heard, cut, converted both ways, and judged by an ear that is not ours."""

import numpy as np
from kit import audio, box, sip, speech
from kit.appserver import Reply
from kit.talk import reply
from kit.wait import until
from test_dialogs import events_in
from test_documents import document


def with_tones(config):
    config["trunks"]["acme"].update(dtmf="inband")


def test_row_26_tones_become_events_and_events_tones_and_speech_is_neither(world):
    daemon = world.start(with_tones)
    near, far = sip.Raw(world.net.carrier), sip.Raw(world.net.other_carrier)
    call = speech.Call(world.net, near, far, speech.description(near.local, 6000), speech.description(far.local, 7000, events=101))
    assert "telephone-event/8000" in call.offered and "telephone-event" not in call.answer
    voice = speech.spoken(world.folder)[: 5 * 8000]
    said = np.concatenate([voice, np.zeros(800, np.int16), speech.keys("1590*#"), voice[:8000]])
    assert speech.digits_in(world.folder, said) == "1590*#", "the ear of the test hears them in what is sent"
    call.near_line.say(call.to_near, speech.frames(said), (call.far_line,))
    until("all digits", lambda: (call.far_line.listen(), len(events_in(call.far_line.packets)) == 6)[1])
    assert events_in(call.far_line.packets) == [0, 1, 5, 9, 10, 11]
    assert [event["data"]["via"] for event in daemon.events(type="leg.digit")] == ["inband"] * 6
    heard = call.far_line.heard()
    assert speech.digits_in(world.folder, heard) == "", "the tones were cut"
    assert audio.compare(heard, said).found >= 10, "and the speech was not"
    # The other way: events become tones.
    call.far_line.say(call.to_far, speech.frames(np.zeros(1600, np.int16)), (call.near_line,))
    for code in (7, 7, 11):
        call.far_line.event(call.to_far, code)
        call.far_line.say(call.to_far, speech.frames(np.zeros(2400, np.int16)), (call.near_line,))
    assert speech.digits_in(world.folder, call.near_line.heard()) == "77#"
    call.end()
    daemon.idle()


def test_a_document_gathers_tones_while_it_plays(world):
    daemon = world.start(with_tones)
    audio.write_wav(world.folder / "prompt.wav", audio.melody(3, 8))
    world.app["/voice"] = document('<Gather numDigits="4" action="/digits" timeout="8"><Play>/prompt.wav</Play></Gather><Hangup/>')
    world.app["/prompt.wav"] = Reply((world.folder / "prompt.wav").read_bytes(), kind="audio/wav")
    world.app["/digits"] = document("<Hangup/>")
    near, line = sip.Raw(world.net.carrier), speech.Line(world.net.carrier, 6000)
    invite = near.request("INVITE", f"sip:{box.NUMBER_APP}@{world.net.box_carrier}", ("Content-Type: application/sdp",), speech.description(near.local, 6000))
    near.send(invite, world.net.box_carrier)
    answer = near.final()
    assert sip.status(answer) == 200, answer
    near.send(speech.in_dialog(near, answer, "ACK", 1), world.net.box_carrier)
    line.say(speech.media(answer), speech.frames(np.concatenate([np.zeros(4000, np.int16), speech.keys("4711", 60, 60)])))
    (asked,) = world.app.until_asked("/digits")
    assert asked.params["Digits"] == "4711"
    bye = near.receive(10)
    near.send(reply(bye, 200), world.net.box_carrier)
    line.close()
    daemon.idle()
