"""Run COPIES processes of a command at once; print CPU seconds, peak MiB and exit status of each.

usage: measure.py COPIES COMMAND... (`{n}` is replaced by the number of the copy)

This is a small process without site and imports, because the peak memory of a child begins with that of its
parent. The last line is the wall time in seconds.
"""

import os
import sys
import time

copies, words = int(sys.argv[1]), sys.argv[2:]
no_files = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
began = time.monotonic()
children = []
for n in range(copies):
    command = [word.replace("{n}", str(n)) for word in words]
    children.append(os.posix_spawn(command[0], command, os.environ, file_actions=no_files))
for child in children:
    _, status, used = os.wait4(child, 0)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, os.waitstatus_to_exitcode(status))
print(time.monotonic() - began)
