"""Training: losses, schedule, a resumable loop; the nano networks' recipe grows on it."""
