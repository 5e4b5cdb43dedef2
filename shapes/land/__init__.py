"""A small clip-art land: figures that a person would name, in ten colours, on six backgrounds."""
