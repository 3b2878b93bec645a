"""wervane: continuous monitoring of word error rate in live transcription traffic."""

__version__ = "0.1.0"
