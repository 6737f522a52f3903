"""Changes two values a hundred times: the counterpart of last_value_writer.rs."""

import sys

import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5561"

context = zmq.Context.instance()
push = context.socket(zmq.PUSH)
push.connect(endpoint)
for value in range(1, 101):
    push.send_string(f"temperature {value}")
    push.send_string(f"pressure {1000 + value}")
# What was sent is still on its way; ending the context waits for it.
push.close()
context.term()
print("0 left behind", flush=True)
