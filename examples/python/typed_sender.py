"""Sends values as JSON: the counterpart of typed_sender.rs."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5563"

context = zmq.Context.instance()
push = context.socket(zmq.PUSH)
push.connect(endpoint)
for town, degrees in (("oslo", -3), ("paris", 11)):
    push.send_json({"town": town, "degrees": degrees})
# What was sent is still on its way; ending the context waits for it.
push.close()
context.term()
