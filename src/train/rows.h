#pragma once

#include <cstdint>
#include <vector>

#include "headscope/train.h"

namespace headscope::train {

constexpr std::int32_t kNoLabel = -100;

/// A batch while its sequences are put one behind the other.
struct Rows {
  std::vector<std::int32_t> ids, labels, starts{0};

  void add(std::int32_t id, std::int32_t label = kNoLabel) {
    ids.push_back(id);
    labels.push_back(label);
  }
  void end_sequence() { starts.push_back(static_cast<std::int32_t>(ids.size())); }
  [[nodiscard]] Batch batch() const {
    const auto tensor = [](const std::vector<std::int32_t>& numbers) {
      return Tensor::copy_of({DType::kI32,
                              {static_cast<std::int64_t>(numbers.size())},
                              reinterpret_cast<const std::byte*>(numbers.data())});
    };
    Batch out;
    out.ids = tensor(ids);
    out.labels = tensor(labels);
    out.cu_seqlens = tensor(starts);
    return out;
  }
};

}  // namespace headscope::train
