"""What methods find, and what they cost."""
