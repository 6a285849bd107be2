#pragma once

#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "headscope/train.h"

namespace headscope::train {

constexpr std::int32_t kNoLabel = -100;

/// A batch while its sequences are put one behind the other.
struct Rows {
  std::vector<std::int32_t> ids, labels, starts{0}, looks;

  void add(std::int32_t id, std::int32_t label = kNoLabel) {
    ids.push_back(id);
    labels.push_back(label);
  }
  /// The row should look at columns [first, last] with this head; rows as they stand in the batch.
  void teach(std::int32_t layer,
             std::int32_t head,
             std::int32_t row,
             std::int32_t first,
             std::int32_t last) {
    for (const std::int32_t x : {layer, head, row, first, last}) looks.push_back(x);
  }
  void end_sequence() { starts.push_back(static_cast<std::int32_t>(ids.size())); }
  [[nodiscard]] Batch batch() const {
    const auto tensor = [](const std::vector<std::int32_t>& numbers, Shape shape) {
      return Tensor::copy_of(
          {DType::kI32, std::move(shape), reinterpret_cast<const std::byte*>(numbers.data())});
    };
    const auto row = [&](const std::vector<std::int32_t>& numbers) {
      return tensor(numbers, {static_cast<std::int64_t>(numbers.size())});
    };
    Batch out;
    out.ids = row(ids);
    out.labels = row(labels);
    out.cu_seqlens = row(starts);
    if (!looks.empty()) out.looks = tensor(looks, {std::ssize(looks) / 5, 5});
    return out;
  }
};

}  // namespace headscope::train
