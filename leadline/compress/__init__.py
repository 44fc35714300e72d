"""Making nets smaller and faster: what they cost, and later how to cut them."""
