"""Publishes the weather of three towns: the counterpart of weather_server.rs."""

import itertools
import sys
import time

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556"

pub = zmq.Context.instance().socket(zmq.PUB)
pub.bind(endpoint)
print("listening on", pub.last_endpoint.decode(), flush=True)
for warmth in itertools.cycle([0, 1, 2, 1, 0, -1, -2, -1]):
    for town, mean in (("oslo", -3), ("paris", 11), ("quito", 14)):
        pub.send_string(f"{town} {mean + warmth}")
    time.sleep(0.02)
