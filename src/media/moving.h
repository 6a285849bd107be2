#pragma once

#include <cstdint>
#include <vector>

#include "headscope/tensor.h"

/// Pictures that move in a way that is known: what models of video learn from, and what heads are measured on.
namespace headscope::media {

struct MovingOptions {
  std::int64_t frames = 4, height = 32, width = 32;
  std::int64_t step = 4;    ///< pixels: places and motions of things are multiples of it
  std::int64_t most = 1;    ///< steps a frame, down and to the right, at most; never 0 in both
  std::int64_t things = 2;  ///< over a background that stands still
};

/// Some frames of it.
struct Moving {
  /// One thing: where it is in frame 0, its size, and its motion, in pixels (a frame).
  struct Thing {
    std::int64_t top = 0, left = 0, height = 0, width = 0, down = 0, right = 0;
    [[nodiscard]] bool covers(std::int64_t frame, std::int64_t y, std::int64_t x) const {
      const std::int64_t row = y - top - frame * down;
      const std::int64_t column = x - left - frame * right;
      return row >= 0 && row < height && column >= 0 && column < width;
    }
  };
  Tensor grey;                ///< u8 [frames,height,width]
  std::vector<Thing> things;  ///< a later one is in front of an earlier one
  /// Which thing is seen there; -1: the background.
  [[nodiscard]] int seen(std::int64_t frame, std::int64_t y, std::int64_t x) const;
};

/// Things and background have a texture of chance, in blocks of a quarter of a step. A thing is two to four steps high and
/// wide, and stays in the picture. A function of options and seed alone, on every machine.
/// Errors  kRange: sizes that are no multiples of the step, or too small for the things to move in.
Moving moving_pictures(const MovingOptions& options, std::uint64_t seed);

}  // namespace headscope::media
