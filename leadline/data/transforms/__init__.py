"""What a training does to an item or a batch."""
