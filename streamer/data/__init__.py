"""Data of other providers: who is asked, in which order, what is kept, and how far it can be believed."""
