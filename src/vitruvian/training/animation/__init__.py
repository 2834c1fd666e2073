"""The training of the small network that animates persons: its image codec, then what denoises in its latents."""
