"""How speech sounds behind the border: PESQ (ITU-T P.862, on the scale of P.862.1, at most 4.55) of what was said and what was heard."""

import numpy as np
from kit import audio, sip, speech
from pesq import pesq


def test_speech_that_is_relayed_sounds_as_g711_does(world):
    daemon = world.start()
    near, far = sip.Raw(world.net.carrier), sip.Raw(world.net.other_carrier)
    call = speech.Call(world.net, near, far, speech.description(near.local, 6000), speech.description(far.local, 7000))
    said = speech.spoken(world.folder)[: 8 * 8000]
    call.near_line.say(call.to_near, speech.frames(np.concatenate([said, np.zeros(1600, np.int16)])), (call.far_line,))
    heard = call.far_line.heard()
    call.end()
    score = pesq(8000, said, heard, "nb")
    assert score >= 4.2, score
    # Nothing is lost beside what the codec itself takes.
    ideal = pesq(8000, said, audio.from_ulaw(audio.to_ulaw(said)), "nb")
    assert abs(score - ideal) < 0.1, (score, ideal)
    daemon.idle()
