"""The control plane as somebody hostile or broken might run it, and where secrets may not be."""

import socket

from kit import box
from kit.talk import Talk


def test_a_server_that_says_nothing_or_nonsense(world):
    """Accepts and is silent, or talks garbage: calls go on, events wait."""
    silent = socket.create_server((world.net.servers, 4222), backlog=64)
    config = world.configuration()
    config["control_plane"] = {"url": f"nats://{world.net.servers}:4222", "token": "link-secret-41"}
    world.box = box.Box(world.folder, config)
    daemon = world.box
    silent.settimeout(15)
    for greeting in (b"", b"\0" * 50_000, b"INFO {}\r\n", b"INFO " + b"{" * 100_000 + b"\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        connection, _ = silent.accept()
        try:
            connection.sendall(greeting)
        except OSError:
            pass
        Talk(world.net).hang_up()
        connection.close()
    daemon.idle()
    assert daemon.status()["delivery"]["link"] == "down" and daemon.status()["delivery"]["spool_waiting"] > 10
    daemon.until_event("link.down")
    assert "link-secret-41" not in daemon.child.text() and "panicked" not in daemon.child.text()
    silent.close()
    assert daemon.stop() == 0


def test_commands_that_are_none_are_refused(world):
    nats = world.nats()
    daemon = world.start(nats=nats)
    daemon.until_event("link.up")
    talk = Talk(world.net).talk()

    async def send(connection, _):
        replies = []
        for subject in ("hangup", "status", "frobnicate"):
            for body in (b"", b"\xff\xfe", b"[", b"null", b"[1]", b'{"call": 7}', b'{"call": "CA"}', b'{"call": "' + b"f" * 500_000 + b'"}', b"[" * 100_000):
                try:
                    replies.append((await connection.request(f"postern.edge-test.command.{subject}", body, timeout=1 if subject != "frobnicate" else 0.1)).data)
                except Exception as error:  # nobody answers: that is an answer
                    replies.append(repr(error).encode())
        return replies

    replies = nats.ask(send)
    assert all(len(reply) < 8000 for reply in replies)
    assert daemon.status()["calls"] == 1 and daemon.status()["delivery"]["link"] == "up"
    talk.unharmed(missed_max=5)
    talk.hang_up()
    daemon.idle()


def test_no_secret_is_in_anything_that_is_written(world):
    """Every file of a busy run, the answers of the tool and the events: searched for every secret of the configuration."""
    nats = world.nats()
    secrets = [box.TOKEN, *box.PASSWORDS.values(), "trunk-secret-7", "our-secret-8", "link-secret-41", "query-secret-5"]

    def change(config):
        config["trunks"]["acme"]["credentials"] = {"username": "postern", "password": "our-secret-8"}
        config["trunks"]["zeta"]["demands"] = {"username": "zeta", "password": "trunk-secret-7"}
        config["control_plane"]["token"] = "link-secret-41"
        config["applications"]["greeting"]["voice_url"] = world.app.url + "/gone?key=query-secret-5"

    daemon = world.start(change, nats=nats)
    world.register()
    Talk(world.net).hang_up()
    daemon.write(daemon.file.read_text() + "\nnonsense: [link-secret-41\n")
    daemon.reload()
    daemon.until_event("config.refused")
    daemon.rest("GET", "/v1/events?follow=false", auth=(box.ACCOUNT, "wrong-guess-6"))
    daemon.write()
    outputs = {"status": daemon.tool("status")[1], "events": str(daemon.events()), "calls": str(daemon.calls()),
               "check": daemon.tool("--json", "check", "--effective", daemon.file)[1], "person": daemon.tool("check", "--effective", daemon.file)[1]}
    assert daemon.stop() == 0
    for path in [*(world.folder / "state").rglob("*"), *world.folder.glob("posternd.out")]:
        if path.is_file():
            outputs[str(path)] = path.read_bytes().decode(errors="replace")
    for name, text in outputs.items():
        # The whole configuration, asked for, has its URLs as they are; all else leaves their queries out.
        shown = {"query-secret-5"} if name in ("check", "person") else set()
        for secret in [*(s for s in secrets if s not in shown), "wrong-guess-6", "Digest username", "nonce=\""]:
            assert secret not in text, f"{secret} in {name}"
