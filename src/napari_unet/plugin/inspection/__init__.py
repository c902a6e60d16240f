"""The dock widget "Look inside"."""
