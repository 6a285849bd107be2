#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "headscope/tensor.h"

namespace headscope::train {

/// Some floats on loan. Several may hold the same block.
struct Block {
  Tensor memory;  ///< f32, its numbers are unset
  int holders = 0;
  bool used = false;  ///< since the last restart
  [[nodiscard]] float* data() { return memory.span<float>().data(); }
  [[nodiscard]] std::int64_t size() const { return memory.size(); }
};

/// Memory of a step, kept for the next one: once the longest batch has been seen, nothing is allocated any more.
class Arena {
 public:
  /// The smallest free block that holds n floats, else a new one. Errors: kResources.
  Block* take(std::int64_t n);
  static void share(Block* block) { ++block->holders; }
  static void drop(Block* block) { --block->holders; }
  /// Nobody holds anything any more. Where the last step needed new blocks, those that it left aside go.
  void restart();
  [[nodiscard]] std::size_t bytes() const;

 private:
  std::vector<std::unique_ptr<Block>> blocks_;
  bool grown_ = false;
};

}  // namespace headscope::train
