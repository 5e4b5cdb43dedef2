"""Requests through the model: scheduling, the stages of both tasks, warm-up."""
