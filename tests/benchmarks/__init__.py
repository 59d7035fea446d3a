"""How fast we are, beside what people use instead: `python -m tests.benchmarks --write` writes docs/performance.md.

`stub` is a small ARM of canned answers in a process of its own; `clients` is one client in a process of its own;
`measure` takes turns between them; `page` writes the figures down and holds them against limits. No test is in here.
"""
