"""What the rules look for, as data."""
