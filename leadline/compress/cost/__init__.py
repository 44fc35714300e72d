"""What a net costs: parameters, MACs, bytes, milliseconds."""
