#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "headscope/model.h"

namespace headscope::doctor::testing {

/// `n` texts of `length` tokens of the tiny models' 40, drawn with one seed.
inline std::vector<Tokens> random_texts(int n, std::int64_t length) {
  std::vector<Tokens> out;
  std::mt19937 random(3);
  for (int t = 0; t < n; ++t) {
    Tokens text;
    text.ids = Tensor(DType::kI32, {1, length});
    for (std::int32_t& id : text.ids.span<std::int32_t>())
      id = static_cast<std::int32_t>(random() % 40);
    out.push_back(std::move(text));
  }
  return out;
}

}  // namespace headscope::doctor::testing
