"""Squares numbers, and sends them to the sink: the counterpart of pipeline_worker.rs."""

import sys

import zmq

ventilator = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5557"
sink = sys.argv[2] if len(sys.argv) > 2 else "tcp://127.0.0.1:5558"

context = zmq.Context.instance()
tasks = context.socket(zmq.PULL)
tasks.connect(ventilator)
results = context.socket(zmq.PUSH)
results.connect(sink)
while True:
    number = int(tasks.recv_string())
    results.send_string(f"result {number * number}")
