#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "headscope/tensor.h"

namespace headscope::train {

/// Real videos to learn from, kept small and grey: every other frame, 256 of them (or half a GiB) at most, each at most four pictures
/// high or wide.
class Clips {
 public:
  Clips() = default;
  /// `side`: pixels of the square pictures that will be cut out.
  /// Errors: those of read_clip; kInput for a video of fewer than two frames to take.
  Clips(const std::vector<std::filesystem::path>& videos, std::int64_t side);

  [[nodiscard]] bool empty() const { return videos_.empty(); }
  /// `frames` pictures one after the other into `to` [frames,side,side]: a square anywhere in a video, from one picture
  /// wide to all of it, of frames one to four apart, mirrored or not. A function of `chance` alone.
  void cut(std::uint64_t chance, std::int64_t frames, std::uint8_t* to) const;

 private:
  std::int64_t side_ = 0;
  std::vector<Tensor> videos_;  ///< u8 [N,H,W]
};

}  // namespace headscope::train
