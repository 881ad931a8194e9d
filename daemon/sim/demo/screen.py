"""What the demo prints: steps, quoted output, tables."""

import os
import sys
import threading

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
_lock = threading.Lock()


def paint(text, code):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def say(text=""):
    with _lock:
        print(text, flush=True)


def step(text):
    say()
    say(paint(f"── {text} " + "─" * max(3, 96 - len(text)), "1"))


def quote(text, mark="│"):
    for line in text.rstrip().splitlines():
        say(f"  {paint(mark, '2')} {line}")


def verdict(good, text):
    say(f"  {paint('ok  ', '32') if good else paint('FAIL', '1;31')} {text}")
    return good


def table(head, rows):
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    line = lambda row: "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()  # noqa: E731
    say("  " + paint(line(head), "1"))
    say("  " + "  ".join("─" * width for width in widths))
    for row in rows:
        say("  " + line(row))
