"""The two ways a request takes through the model: drawing a picture, answering about one."""
