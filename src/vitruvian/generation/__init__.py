"""Video generation: conditioning, denoising in tiles, decoding. Networks are handed in."""
