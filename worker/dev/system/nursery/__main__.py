"""The nursery's process: imports the modules it is given, then reads requests, a JSON line each, and forks for each.

Its standard input is the socket to the launcher, on which it answers too: a line once it is ready, then each new
process its own number.
"""

import gc
import json
import os
import runpy
import signal
import sys
import time
from importlib import import_module
from typing import Any

from setproctitle import setproctitle

from worker.dev.parents import end_with

_LINE = 0


def main() -> None:
    launcher = os.getppid()
    gc.disable()  # nothing of this is garbage
    for module in sys.argv[1:]:
        import_module(module)
    gc.freeze()  # looking for garbage would write to the pages that the forks share
    os.write(_LINE, b"ready\n")
    while request := sys.stdin.readline():
        between = os.fork()
        if between == 0:
            between = os.getpid()
            if os.fork():
                os._exit(0)
            _run(json.loads(request), between, launcher)
            return
        if os.waitpid(between, 0)[1]:
            sys.exit("a process could not be forked")


def _run(request: dict[str, Any], between: int, launcher: int) -> None:
    """In the fork: become the program."""
    while os.getppid() == between:
        time.sleep(0.001)
    # As in `Child`: the servers go with the launcher too.
    end_with(launcher, signal.SIGKILL)
    os.setsid()
    os.write(_LINE, b"%d\n" % os.getpid())  # not before it is the launcher's, and can be ended with all it starts
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    for number, stream in enumerate((nothing, output, output)):
        os.dup2(stream, number)
    os.close(nothing)
    os.close(output)
    os.chdir(os.path.dirname(request["log"]))
    sys.argv = [request["module"], *request["arguments"]]
    # What `ps` shows. It is found by the environment's place in memory, so before that changes.
    setproctitle(" ".join([sys.executable, "-m", *sys.argv]))
    os.environ.clear()
    os.environ.update(request["environment"])
    gc.enable()
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
