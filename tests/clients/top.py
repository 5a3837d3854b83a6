"""Presses keys of `weir top` on a terminal of its own and sees what it shows.

usage: top.py PROGRAM ADMIN
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

program, admin = sys.argv[1:3]
shown = b""


def begin():
    """Starts it on a terminal of its own."""
    global child, terminal
    child, terminal = pty.fork()
    if child == 0:
        os.execv(program, [program, "top", "--admin", admin])
    size(80)


def size(columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def until(text):
    """Reads until this is shown, from now on."""
    global shown
    end = time.monotonic() + 60
    while text not in shown:
        assert time.monotonic() < end, (text, shown)
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536)
    shown = shown.split(text, 1)[1]


def press(keys, text):
    global shown
    shown = b""
    os.write(terminal, keys)
    until(text)


begin()
until(b"operations  sorted by rate")
until(b"PER S")
# It is drawn anew, as narrow as the window.
shown = b""
size(20)
until(b"\x1b[Hweir top")
until(b"\x1b[K")
size(80)
until(b"sorted by rate")
press(b"c", b"commands  sorted by rate")
press(b">", b"commands  sorted by p50")
press(b"n", b"CLIENT")
press(b"m", b"Nobody has said who the servers are.")
press(b"s", b"Nothing was slow")
press(b"r", b"RESOURCE")
press(b"/zz", b"filter: zz_")
press(b"\r", b"Nothing has happened.")
press(b" ", b"PAUSED")
press(b"/\x1b", b"PER S")
os.write(terminal, b"q")
until(b"\x1b[?25h\x1b[?1049l")
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
# A signal puts the terminal back as well.
for number in [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]:
    begin()
    until(b"PER S")
    os.kill(child, number)
    until(b"\x1b[?25h\x1b[?1049l")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, (number, status)
print(os.waitstatus_to_exitcode(status))
