"""Dynamic nets: what an image does not need is not computed. Gates for each filter, and nested widths."""
