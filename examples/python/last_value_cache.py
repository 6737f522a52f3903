"""Tells late subscribers the last value of each key: the counterpart of last_value_cache.rs."""

import sys

import zmq

updates_at = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5561"
subscribers_at = sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:5562"

context = zmq.Context.instance()
updates = context.socket(zmq.PULL)
updates.bind(updates_at)
print("updates at", updates.last_endpoint.decode(), flush=True)
subscribers = context.socket(zmq.XPUB)
subscribers.setsockopt(zmq.XPUB_VERBOSE, 1)
subscribers.bind(subscribers_at)
print("subscribers at", subscribers.last_endpoint.decode(), flush=True)

poller = zmq.Poller()
poller.register(updates, zmq.POLLIN)
poller.register(subscribers, zmq.POLLIN)
last = {}
while True:
    ready = dict(poller.poll())
    if updates in ready:
        update = updates.recv()
        last[update.split(b" ")[0]] = update
        subscribers.send(update)
    if subscribers in ready:
        change = subscribers.recv()
        if change[:1] == b"\x01":
            for value in last.values():
                if value.startswith(change[1:]):
                    subscribers.send(value)
