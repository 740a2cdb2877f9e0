//! A disk in memory that crashes, tears, forgets, lies and fills up on request.
