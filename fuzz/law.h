#pragma once

#include <cstdio>
#include <cstdlib>

/// Stops the fuzzer, which keeps the input, when a law does not hold.
inline void law(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken law: %s\n", what);
  std::abort();
}
