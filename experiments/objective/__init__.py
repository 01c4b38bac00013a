"""How good is a loss as an objective? Decoders and single images trained with it, judged by others."""
