"""The world of small scenes on which the embedded picture model is trained and graded.

It knows what a scene is, how to draw, describe and question it, and how to grade a picture that claims to
show it.  It knows nothing of models, tensors or training: the only dependencies are numpy and Pillow.
"""
