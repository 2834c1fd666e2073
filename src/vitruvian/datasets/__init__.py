"""Training data in folders: finding, decoding, checking, augmenting and showing samples."""
