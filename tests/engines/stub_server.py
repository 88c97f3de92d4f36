"""A server of the OpenAI API without a model, in one of several bad moods.

    python stub_server.py MOOD --port PORT | --socket PATH [--model MODEL]

Standard library only, so that it starts in a few milliseconds.
"""

import argparse
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

FOR_EVER_S = 600


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        mood = self.server.mood
        if self.path == "/health":
            if mood == "loading":
                self.reply(503, {"status": "loading"})
            elif mood == "hangs" and self.server.asked:
                time.sleep(FOR_EVER_S)
            elif mood == "sick" and self.server.asked:
                self.reply(503, {"status": "dead"})
            elif mood == "busy" and self.server.streaming:
                time.sleep(FOR_EVER_S)
            else:
                self.reply(200, {"status": "ok", "environment": dict(os.environ), "argv": sys.argv})
        elif self.path == "/v1/models" and mood != "no-models":
            self.reply(200, {"data": [{"id": name} for name in self.server.names]})
        else:
            self.reply(404, {"error": {"message": "nothing here"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked = True
        key = os.environ.get("STUB_KEY")
        if key and self.headers["Authorization"] != f"Bearer {key}":
            self.reply(401, {"error": {"message": "no such key"}})
            return
        if self.headers["Content-Type"] != "application/json":
            self.reply(415, {"error": {"message": "not JSON"}})
            return
        if self.server.names and body["model"] not in self.server.names:
            self.reply(404, {"error": {"message": f"no model {body['model']}", "type": "NotFoundError"}})
        elif self.server.mood == "refuses" or (self.server.mood == "no-chat" and body.get("messages")):
            self.reply(400, {"error": {"message": "no chat template", "type": "BadRequestError"}})
        elif body.get("stream"):
            self.stream(body["model"])
        elif self.server.mood == "dies" and body["messages"][0]["content"] == "die":
            os._exit(9)
        else:
            self.reply(200, answer(body["model"], "text" if body.get("prompt") else "chat"))

    def stream(self, model: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.server.streaming = True
        for count in range(1000 if self.server.mood == "busy" else 4):
            if self.server.mood == "dies" and count == 2:
                os._exit(9)
            self.event({"choices": [{"index": 0, "delta": {"content": "tick "}}], "model": model})
            if self.server.mood == "busy":
                time.sleep(0.05)
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": model})
        self.event({"choices": [], "usage": USAGE, "model": model})
        if self.server.mood != "no-done":
            self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def event(self, chunk: dict[str, Any]) -> None:
        chunk |= {"id": "c1", "object": "chat.completion.chunk", "created": 1}
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def reply(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


USAGE = {"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5}


def answer(model: str, kind: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "tick"}
    choice = {"index": 0, "finish_reason": "stop"} | (
        {"text": "tick"} if kind == "text" else {"message": message}
    )
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [choice],
        "usage": USAGE,
    }


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, where: str | tuple[str, int], family: int, mood: str, names: list[str]) -> None:
        self.address_family = family
        self.mood = mood
        self.names = names
        self.asked = False
        self.streaming = False
        super().__init__(where, Handler)  # type: ignore[arg-type]  # the address of a Unix socket is a path


def behave(args: argparse.Namespace) -> list[int]:  # noqa: C901 (a list of moods)
    """Do what the mood wants before the server starts; return all processes of the command."""
    left = [os.getpid()]
    match args.mood.split(":"):
        case ["never"]:
            sys.stdout.write("reading the weights\n")
            sys.stdout.flush()
            time.sleep(FOR_EVER_S)
        case ["exit", code]:
            sys.stdout.write(f"loading {args.model}\n")
            sys.stdout.flush()
            sys.stderr.write(f"key {os.environ.get('SECRET_KEY')}\nerror: cannot use {args.model}\nbye\n")
            sys.exit(int(code))
        case ["no-module"]:
            sys.exit("ModuleNotFoundError: No module named 'vllm'")
        case ["crash", number]:
            os.kill(os.getpid(), int(number))
        case ["deaf"]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case ["parent"]:
            sleeper = [sys.executable, "-c", f"import time; time.sleep({FOR_EVER_S})"]
            left += [subprocess.Popen(sleeper).pid, subprocess.Popen(sleeper, start_new_session=True).pid]
        case ["flood"]:
            sys.stdout.write("x" * 500_000 + "\n" + "line\n" * 100_000)
            sys.stderr.write("y" * 500_000)
        case ["closed"]:
            os.close(1)
            os.close(2)
        case ["taken", path]:
            # The first start finds its port taken, as when somebody else was quicker.
            if not os.path.exists(path):  # noqa: PTH110 (no imports that cost time)
                with open(path, "w") as file:  # noqa: PTH123 (see above)
                    file.write(str(args.port))
                sys.exit("OSError: [Errno 98] error while attempting to bind: address already in use")
    return left


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mood")
    parser.add_argument("--port", type=int)
    parser.add_argument("--socket")
    parser.add_argument("--names", default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--pids")
    args = parser.parse_args()
    left = behave(args)
    if args.pids:
        with open(args.pids, "a") as file:  # noqa: PTH123 (see above)
            file.write("".join(f"{pid}\n" for pid in left))
    names = [name for name in args.names.split(",") if name]
    if args.socket:
        server = Server(args.socket, socket.AF_UNIX, args.mood, names)
    else:
        server = Server(("127.0.0.1", args.port), socket.AF_INET, args.mood, names)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
