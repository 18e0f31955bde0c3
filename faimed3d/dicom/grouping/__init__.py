"""From image planes to volumes: which planes are of one series, and which of them make one volume."""
