"""Prints what the mesh says of the kitchen until the fan goes on, and then asks how warm it is: by the door
of bus_door.rs or of `withy node --zmtp`."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5555"

context = zmq.Context.instance()
sub = context.socket(zmq.SUB)
sub.connect(endpoint)
# The octets that topics begin with.
sub.subscribe("home/kitchen/")
while True:
    topic, body = sub.recv_multipart()
    print(topic.decode(), body.decode(), flush=True)
    if (topic, body) == (b"home/kitchen/fan", b"on"):
        break

req = context.socket(zmq.REQ)
req.connect(endpoint)
# The service, and what is asked.
req.send_multipart([b"thermometer", b"how warm?"])
reply = req.recv_multipart()
if reply[0] == b"" and reply[-1].startswith(b"error: "):
    sys.exit(reply[-1].decode())
print("it has", reply[0].decode(), "degrees", flush=True)
