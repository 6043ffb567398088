"""The preview lane of Argo CD: its files, what a controller would make of them, and what is wrong with a lane."""
