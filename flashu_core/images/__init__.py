"""Images of files and users. Needs no torch but for `tensors`."""
