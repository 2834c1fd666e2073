"""Video in and out: frames with times out of files, sequences and cameras; drawn videos and lines per frame back."""
