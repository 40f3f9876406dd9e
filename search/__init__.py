"""From a query to matches: one vector out of words and pictures, candidates from storage, exact order."""
