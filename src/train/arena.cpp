#include "train/arena.h"

#include <algorithm>

namespace headscope::train {

Block* Arena::take(std::int64_t n) {
  Block* best = nullptr;
  for (const auto& block : blocks_) {
    const bool fits = block->holders == 0 && block->size() >= n;
    if (fits && (best == nullptr || block->size() < best->size())) best = block.get();
  }
  if (best == nullptr) {
    auto made = std::make_unique<Block>();
    made->memory = Tensor(DType::kF32, {std::max<std::int64_t>(n, 16)});
    best = made.get();
    blocks_.push_back(std::move(made));
    grown_ = true;
  }
  best->holders = 1;
  best->used = true;
  return best;
}

void Arena::restart() {
  if (grown_) std::erase_if(blocks_, [](const auto& block) { return !block->used; });
  grown_ = false;
  for (const auto& block : blocks_) {
    block->holders = 0;
    block->used = false;
  }
}

std::size_t Arena::bytes() const {
  std::size_t sum = 0;
  for (const auto& block : blocks_) sum += block->memory.bytes();
  return sum;
}

}  // namespace headscope::train
