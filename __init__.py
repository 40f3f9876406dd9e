"""photoseek finds photos by words, on your own machine."""
