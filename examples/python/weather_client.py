"""Takes five readings of one town, and prints their mean: the counterpart of weather_client.rs."""

import sys

import zmq

READINGS = 5

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5556"
town = sys.argv[2] if len(sys.argv) > 2 else "oslo"

sub = zmq.Context.instance().socket(zmq.SUB)
sub.connect(endpoint)
sub.subscribe(f"{town} ")
total = 0
for _ in range(READINGS):
    reading = sub.recv_string()
    print(reading, flush=True)
    total += int(reading.split(" ", 1)[1])
print(f"mean of {town}: {total / READINGS:.1f}", flush=True)
