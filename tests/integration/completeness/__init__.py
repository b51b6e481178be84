"""Every operation has its audit entry, whoever asks and however."""
