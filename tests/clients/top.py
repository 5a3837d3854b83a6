"""Presses keys of `weir top` on a terminal of its own and sees what it shows.

usage: top.py PROGRAM ADMIN
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

program, admin = sys.argv[1:3]
child, terminal = pty.fork()
if child == 0:
    os.execv(program, [program, "top", "--admin", admin])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
shown = b""


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


until(b"operations  sorted by rate")
until(b"PER S")
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
print(os.waitstatus_to_exitcode(status))
