//! Memory maps of the real disk: one of the two files of the project that hold `unsafe`.
