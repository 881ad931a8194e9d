"""An MP3 file, made by lame, is played to a caller; one that is none is told of."""

import subprocess

from kit import audio, box, capture
from kit.appserver import Reply
from test_documents import caller, document


def test_an_mp3_file_is_heard(world):
    daemon = world.start()
    prompt = audio.melody(78, 2)
    audio.write_wav(world.folder / "prompt.wav", prompt)
    subprocess.run(["lame", "--quiet", "--add-id3v2", "--tt", "Prompt", "-b", "32", world.folder / "prompt.wav", world.folder / "prompt.mp3"], check=True, timeout=30)
    world.app["/prompt.mp3"] = Reply((world.folder / "prompt.mp3").read_bytes(), kind="audio/mpeg")
    world.app["/noise.mp3"] = Reply(b"ID3\x04\x00\x00\x00\x00\x00\x04" + bytes(3000), kind="audio/mpeg")
    world.app["/voice"] = document("<Play>/noise.mp3</Play><Play>/prompt.mp3</Play><Hangup/>")
    packets = world.capture()
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    daemon.idle()
    match = audio.compare(capture.heard(packets.stop(), world.net.carrier), prompt)
    assert match.share > 0.8 and 1.2 < match.seconds < 2.6, match
    assert "not an MP3 file" in str(daemon.events())
