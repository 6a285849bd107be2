#pragma once

#include <cstdint>

/// Numbers by chance that are functions of where they are used: no state to keep in a checkpoint, and the same on any
/// number of threads.
namespace headscope::train {

/// Mixes its bits. Source: Steele, Lea & Flood 2014 (SplitMix64's finaliser).
constexpr std::uint64_t mixed(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// The draw at place (a, b) of the sequence that `seed` names.
constexpr std::uint64_t draw(std::uint64_t seed, std::uint64_t a, std::uint64_t b = 0) {
  return mixed(mixed(mixed(seed) ^ a) ^ b);
}

/// In [0, 1).
constexpr double unit(std::uint64_t drawn) { return static_cast<double>(drawn >> 11) * 0x1.0p-53; }

/// Below n, for n < 2^32.
constexpr std::uint64_t below(std::uint64_t drawn, std::uint64_t n) {
  return ((drawn >> 32) * n) >> 32;
}

/// Where element i of 0..n-1 comes to stand when they are shuffled: a bijection for each seed, without a table.
/// Source: Luby & Rackoff 1988 (four rounds), walked until it is in range (Black & Rogaway 2002).
constexpr std::uint64_t shuffled(std::uint64_t i, std::uint64_t n, std::uint64_t seed) {
  int half = 1;
  while (half < 31 && (std::uint64_t{1} << (2 * half)) < n) ++half;
  const std::uint64_t low = (std::uint64_t{1} << half) - 1;
  do {
    std::uint64_t left = i >> half;
    std::uint64_t right = i & low;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (draw(seed, round, right) & low);
      left = right;
      right = next;
    }
    i = (left << half) | right;
  } while (i >= n);
  return i;
}

}  // namespace headscope::train
