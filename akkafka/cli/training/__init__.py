"""`akkafka train`: one process that starts all the others, watches them, and says how training goes.

Open first: `supervision` (what to do when a process ends; pure), `second` (what a second `train` means; pure), then
`command` (the whole, in order).
"""
