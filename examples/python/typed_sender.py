"""Sends values as JSON: the counterpart of typed_sender.rs."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5563"

push = zmq.Context.instance().socket(zmq.PUSH)
push.connect(endpoint)
for town, degrees in (("oslo", -3), ("paris", 11)):
    push.send_json({"town": town, "degrees": degrees})
