"""Hands a hundred pieces of work to the workers: the counterpart of pipeline_ventilator.rs."""

import sys

import zmq

TASKS = 100

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5557"
sink_at = sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:5558"

context = zmq.Context.instance()
sink = context.socket(zmq.PUSH)
sink.connect(sink_at)
sink.send_string(f"expect {TASKS}")

workers = context.socket(zmq.PUSH)
workers.bind(endpoint)
print("listening on", workers.last_endpoint.decode(), flush=True)
for task in range(1, TASKS + 1):
    workers.send_string(str(task))
# What was sent is still on its way; ending the context waits for it.
workers.close()
sink.close()
context.term()
print(f"{TASKS} tasks sent, 0 left behind", flush=True)
