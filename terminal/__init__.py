"""Pictures on a terminal: what it can show, how each protocol encodes a picture, and the grid they stand in."""
