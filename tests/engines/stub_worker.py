"""A worker without a model, in one of several bad moods: `python stub_worker.py MOOD`.

Standard library only, so that it starts in a few milliseconds.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

FOR_EVER_S = 600


def follow_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(4)


def say(report: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def serve(path: str, health: dict[str, object]) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(16)
    say(
        {
            "ready": True,
            "pid": os.getpid(),
            "n_vocab": 1,
            "n_parameters": 1,
            "train_context": 1,
            "size_bytes": 1,
            "load_ms": 1.0,
        }
    )
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            if health.get("moves"):
                health["steps"] = time.monotonic_ns()
            body = json.dumps(health).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def main(mood: str) -> None:  # noqa: C901, PLR0912 (a list of moods)
    launch = json.loads(sys.stdin.buffer.raw.readline())  # type: ignore[union-attr]
    threading.Thread(target=follow_parent, daemon=True).start()
    health: dict[str, object] = {"status": "ok", "active": 0, "queued": 0, "progress_age_ms": 0, "steps": 1}
    match mood.split(":"):
        case ["never"]:
            time.sleep(FOR_EVER_S)
        case ["garbage"]:
            sys.stdout.write(f"loading {launch['path']}\n")
            sys.stdout.flush()
            time.sleep(FOR_EVER_S)
        case ["mute"]:
            os.close(1)
            time.sleep(FOR_EVER_S)
        case ["refuse", kind]:
            say({"ready": False, "error": {"kind": kind, "message": f"no use for {launch['path']}"}})
            sys.exit(3)
        case ["crash", number]:
            os.kill(os.getpid(), int(number))
        case ["exit", code]:
            sys.stderr.write(f"some talk\nerror: cannot use {launch['path']}\nbye\n")
            sys.exit(int(code))
        case ["deaf"]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case ["stuck"]:
            health |= {"active": 1, "progress_age_ms": 3_600_000}
        case ["busy"]:
            health |= {"active": 1, "progress_age_ms": 3_600_000, "moves": True}
        case ["flood"]:
            sys.stderr.write("x" * 1_000_000 + "\n" + "line\n" * 100_000)
        case ["parent"]:
            # A process of its own that holds the pipes open.
            left = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOR_EVER_S})"])
            health["grandchild"] = left.pid
        case ["slow", seconds]:
            time.sleep(float(seconds))
        case ["environment"]:
            health |= {"environment": dict(os.environ), "argv": sys.argv, "launch": launch}
    serve(launch["socket"], health)


if __name__ == "__main__":
    main(sys.argv[1])
