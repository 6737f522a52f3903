"""Publishes on the mesh how warm the kitchen is, by the door of bus_door.rs or of `withy node --zmtp`."""

import itertools
import sys
import time

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"

pub = zmq.Context.instance().socket(zmq.PUB)
pub.connect(endpoint)
for degrees in itertools.cycle([24, 25, 26, 27]):
    # The topic, and what there is to say.
    pub.send_multipart([b"home/kitchen/temp", str(degrees).encode()])
    time.sleep(0.02)
