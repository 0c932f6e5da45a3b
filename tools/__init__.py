"""Programs for users, and what several of them share (common.py)."""
