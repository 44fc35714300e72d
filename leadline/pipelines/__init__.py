"""Options in, files out: what the command line and the recipes share."""
