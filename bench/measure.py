"""Run a command COPIES times at once; print what the system accounts to each: CPU s, peak MiB, exit status.

A process of its own, without site and without imports, because a child's peak begins with that of its parent.
A word with `{n}` gets the number of the copy. The last line is the wall time in seconds.
"""

import os
import sys
import time

copies, words = int(sys.argv[1]), sys.argv[2:]
nothing = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
began = time.monotonic()
children = []
for n in range(copies):
    command = [word.replace("{n}", str(n)) for word in words]
    children.append(os.posix_spawn(command[0], command, os.environ, file_actions=nothing))
for child in children:
    _, status, used = os.wait4(child, 0)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
print(time.monotonic() - began)
