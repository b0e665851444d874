"""vLLM servers beside the trainer: started or found, given weights, asked for samples, replaced when
they die.

`engine.py` is the run's side, on one event loop in a thread; `fleet.py` chooses among the servers,
`replica.py` is one of them, `client.py` speaks HTTP with it. `serve.py` is the server's process, which
`guardian.py` ends with the run; `gate.py` stands before its routes and `transfer.py` takes weights in.
Weights travel in `parcels.py`.
"""
