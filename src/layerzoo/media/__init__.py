"""Find, identify and decode samples. One file for each modality."""
