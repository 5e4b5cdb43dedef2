"""Picture files and pixels. Only `tensors` needs torch."""
