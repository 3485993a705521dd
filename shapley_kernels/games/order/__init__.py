"""The order family: games of the sorted rewards."""
