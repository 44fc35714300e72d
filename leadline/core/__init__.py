"""What needs no torch: values, errors, files, pictures."""
