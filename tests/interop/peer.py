"""A libzmq peer that a test drives through its standard streams.

One JSON object per line. A request is {"id", "op", "socket"?, ...arguments}; its answer, in any
order, {"id", "ok": result} or {"id", "error": {"kind", "text"}}. Octets travel as strings of the
characters U+0000 to U+00FF. Every socket has a thread of its own, so that one that waits keeps
none of the others from working. The end of the standard input ends the process.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback

import zmq
import zmq.utils.z85
from zmq.utils.monitor import recv_monitor_message

CONTEXT = zmq.Context()
SOCKETS = {}
OUT = threading.Lock()
SLICE = 50  # milliseconds that a wait may ignore a stop


def octets(text):
    return text.encode("latin-1")


def text(octets):
    return bytes(octets).decode("latin-1")


def answer(**fields):
    line = json.dumps(fields)
    with OUT:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class Load:
    """The counterpart of the tests' own Load: messages that both ends can generate."""

    def __init__(self, count, parts, sizes, seed):
        self.count, self.parts, self.sizes = count, parts, sizes
        block, state, mask = bytearray(), seed, (1 << 64) - 1
        while len(block) < 4093:
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = state
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            block += (z ^ (z >> 31)).to_bytes(8, "little")
        longest = max(sizes)
        body = bytes(block[:4093]) * (longest // 4093 + 1)
        self.tails = {size: body[8:size] for size in sizes}

    def message(self, index):
        return [self.frame(n) for n in range(self.first(index), self.first(index + 1))]

    def first(self, index):
        turns, rest = divmod(index, self.parts)
        return turns * self.parts * (self.parts + 1) // 2 + rest * (rest + 1) // 2

    def frame(self, n):
        size = self.sizes[n % len(self.sizes)]
        header = n.to_bytes(8, "little")
        return header + self.tails[size] if size >= 8 else header[:size]


class Socket:
    """A socket and the thread that alone uses it."""

    def __init__(self, number, kind, options):
        self.number = number
        self.socket = CONTEXT.socket(getattr(zmq, kind)) if kind else None
        self.stop = threading.Event()
        self.work = queue.Queue()
        if self.socket:
            self.socket.linger = 0
            for name, value in options:
                self.set(name, value)
        self.start()

    @classmethod
    def wrapping(cls, number, socket):
        self = cls(number, None, [])
        self.socket = socket
        return self

    def start(self):
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            request = self.work.get()
            if not perform(request, getattr(self, "op_" + request["op"], None)):
                return

    def set(self, name, value):
        option = getattr(zmq, name.upper())
        if isinstance(value, str):
            self.socket.setsockopt(option, octets(value))
        else:
            self.socket.setsockopt(option, value)

    def until(self, timeout):
        return time.monotonic() + timeout / 1000

    def wait(self, event, deadline):
        """Waits for POLLIN or POLLOUT; False when the time is over or someone says stop."""
        while not self.stop.is_set():
            left = (deadline - time.monotonic()) * 1000
            if self.socket.poll(max(0, min(left, SLICE)), event):
                return True
            if left <= 0:
                return False
        return False

    def op_set(self, name, value):
        self.set(name, value)

    def op_get(self, name):
        value = self.socket.getsockopt(getattr(zmq, name.upper()))
        return text(value) if isinstance(value, bytes) else value

    def op_bind(self, endpoint):
        self.socket.bind(endpoint)
        return self.socket.last_endpoint.decode()

    def op_unbind(self, endpoint):
        self.socket.unbind(endpoint)

    def op_connect(self, endpoint):
        self.socket.connect(endpoint)

    def op_disconnect(self, endpoint):
        self.socket.disconnect(endpoint)

    def op_send(self, frames, timeout):
        if not self.wait(zmq.POLLOUT, self.until(timeout)):
            raise zmq.Again()
        self.socket.send_multipart([octets(frame) for frame in frames], zmq.DONTWAIT)

    def op_recv(self, timeout):
        if not self.wait(zmq.POLLIN, self.until(timeout)):
            return None
        return [text(frame) for frame in self.socket.recv_multipart(zmq.DONTWAIT)]

    def op_recv_all(self, quiet):
        """Everything until nothing came for so long."""
        messages = []
        while self.wait(zmq.POLLIN, self.until(quiet)):
            messages.append([text(frame) for frame in self.socket.recv_multipart(zmq.DONTWAIT)])
        return messages

    def op_send_load(self, load, prefix, timeout):
        load, prefix = Load(**load), [octets(frame) for frame in prefix]
        deadline, sent = self.until(timeout), 0
        while sent < load.count:
            try:
                self.socket.send_multipart(prefix + load.message(sent), zmq.DONTWAIT)
                sent += 1
            except zmq.Again:
                if not self.wait(zmq.POLLOUT, deadline):
                    break
        return sent

    def op_recv_load(self, load, skip, timeout):
        """Counts what arrives as generated; stops at the first difference."""
        load, deadline, received, size = Load(**load), self.until(timeout), 0, 0
        while received < load.count:
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT)[skip:]
            except zmq.Again:
                if not self.wait(zmq.POLLIN, deadline):
                    break
                continue
            if frames != load.message(received):
                seen = [f"{len(frame)}:{frame[:8].hex()}" for frame in frames]
                raise ValueError(f"message {received} arrived as {seen}")
            received += 1
            size += sum(map(len, frames))
        return {"messages": received, "octets": size}

    def op_ask_load(self, load, timeout):
        """Sends each message when the one before came back; counts them."""
        load, deadline = Load(**load), self.until(timeout)
        for index in range(load.count):
            self.socket.send_multipart(load.message(index))
            if not self.wait(zmq.POLLIN, deadline):
                return index
            frames = self.socket.recv_multipart()
            if frames != load.message(index):
                seen = [f"{len(frame)}:{frame[:8].hex()}" for frame in frames]
                raise ValueError(f"message {index} came back as {seen}")
        return load.count

    def op_echo(self, count, timeout):
        """Sends each message back as it came, which also fits REP and ROUTER."""
        deadline, done = self.until(timeout), 0
        while done < count and self.wait(zmq.POLLIN, deadline):
            self.socket.send_multipart(self.socket.recv_multipart())
            done += 1
        return done

    def op_monitor(self, socket):
        monitor = self.socket.get_monitor_socket()
        SOCKETS[socket] = Socket.wrapping(socket, monitor)

    def op_event(self, timeout):
        if not self.wait(zmq.POLLIN, self.until(timeout)):
            return None
        event = recv_monitor_message(self.socket)
        return {
            "event": zmq.Event(event["event"]).name,
            "value": event["value"],
            "endpoint": event["endpoint"].decode(),
        }

    def op_proxy(self, back, capture):
        """libzmq's own proxy between this socket and another, until the process ends."""
        back = SOCKETS[back].socket
        capture = SOCKETS[capture].socket if capture is not None else None
        # The steerable one now and then misses a TERMINATE, so nothing here waits for an end.
        run = threading.Thread(target=zmq.proxy, args=(self.socket, back, capture), daemon=True)
        run.start()

    def op_close(self):
        del SOCKETS[self.number]
        self.socket.close()
        return Done


class Zap:
    """Answers ZAP requests (RFC 27) by simple rules, and notes them."""

    def __init__(self, rules):
        self.rules, self.requests = rules, []
        self.socket = CONTEXT.socket(zmq.REP)
        self.socket.bind("inproc://zeromq.zap.01")
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            version, request, domain, address, identity, mechanism, *credentials = (
                self.socket.recv_multipart()
            )
            self.requests.append(
                {
                    "domain": text(domain),
                    "address": text(address),
                    "identity": text(identity),
                    "mechanism": text(mechanism),
                    "credentials": [text(credential) for credential in credentials],
                }
            )
            allowed = self.rules.get(text(mechanism), [])
            given = [text(credential) for credential in credentials]
            good = allowed == "any" or given in allowed
            status = b"200" if good else self.rules.get("status", "400").encode()
            user = b"user-of-zap" if good and domain != b"nameless" else b""
            self.socket.send_multipart([version, request, status, b"", user, b""])


class Main:
    """What needs no socket."""

    zap = None

    def op_version(self):
        return {"libzmq": zmq.zmq_version(), "pyzmq": zmq.pyzmq_version()}

    def op_socket(self, socket, kind, options):
        SOCKETS[socket] = Socket(socket, kind, options)

    def op_keypair(self):
        public, secret = zmq.curve_keypair()
        raw = text(zmq.utils.z85.decode(public))
        return {"public": public.decode(), "secret": secret.decode(), "raw": raw}

    def op_zap(self, rules):
        if Main.zap:
            Main.zap.rules = rules
        else:
            Main.zap = Zap(rules)

    def op_zap_requests(self):
        return Main.zap.requests

    def op_stop(self, target):
        SOCKETS[target].stop.set()


class Done:
    """The result of the last thing that a thread does."""


def perform(request, function):
    """Answers a request; False when it was the last of its thread."""
    number = request.pop("id")
    op = request.pop("op")
    request.pop("thread", None)
    try:
        if function is None:
            raise ValueError(f"no such operation: {op}")
        result = function(**request)
        answer(id=number, ok=None if result is Done else result)
        return result is not Done
    except Exception as error:
        kind = type(error).__name__
        detail = str(error)
        if isinstance(error, zmq.ZMQError):
            kind = zmq.Errno(error.errno).name if error.errno in list(zmq.Errno) else kind
        else:
            traceback.print_exc()
        answer(id=number, error={"kind": kind, "text": detail})
        return True


def main():
    for line in sys.stdin:
        request = json.loads(line)
        thread = request.get("thread")
        if thread is None:
            perform(request, getattr(Main(), "op_" + request["op"], None))
        elif thread in SOCKETS:
            SOCKETS[thread].work.put(request)
        else:
            answer(id=request["id"], error={"kind": "closed", "text": f"socket {thread}"})
    os._exit(0)


main()
