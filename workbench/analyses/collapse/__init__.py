"""Whether attention makes all states alike, and what keeps them apart: rank collapse, and the paths of attention."""
