"""Networks as files that run elsewhere: a ladder of backends, each verified, in one self-describing folder."""
