"""Reading and converting checkpoints of both layouts."""
