//! What others leave, judged in the same way.
