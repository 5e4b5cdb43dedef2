"""Attacks on servers of our own, a file for each kind. Each file has a `run` of one form (`rig.Attack`): it starts the
servers that it needs, does its harm, bounded in count and time, and says what was promised and what was seen."""
