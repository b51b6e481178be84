"""What services need from the outside, as Protocols; the promises stand on the types."""
