#include "attention/disentangled.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "headscope/linear.h"
#include "headscope/threads.h"

namespace headscope {

namespace {

// Rows of one head of one sequence. Shapes  [T,D].
View<const float, 2> rows_of_head(const View<const float, 4>& all, std::int64_t b, std::int64_t h) {
  return {all.data + b * all.stride[0] + h * all.stride[1],
          {all.shape[2], all.shape[3]},
          {all.stride[2], all.stride[3]}};
}

}  // namespace

// In f32, as Transformers count: a bucket's edge depends on the rounding of its logarithm.
std::int64_t DisentangledPositions::row(std::int64_t distance) const {
  std::int64_t bucket = distance;
  const std::int64_t middle = buckets / 2;
  if (buckets > 0 && std::abs(distance) > middle) {
    const auto ratio = [&](std::int64_t far) {
      return static_cast<float>(far) / static_cast<float>(middle);
    };
    const float steps = std::ceil(std::log(ratio(std::abs(distance))) /
                                  std::log(ratio(furthest - 1)) * static_cast<float>(middle - 1));
    // Compared before it is a whole number: the logarithm of 1 makes it infinite.
    const auto most = static_cast<float>(2 * span);
    bucket = static_cast<std::int64_t>(std::min(std::max(steps, -most), most)) + middle;
    if (distance < 0) bucket = -bucket;
  }
  return std::clamp<std::int64_t>(bucket + span, 0, 2 * span - 1);
}

Tensor disentangled_bias(const DisentangledPositions& p,
                         const Slices& slices,
                         const AttentionCall& call) {
  const std::int64_t B = slices.q.shape[0];
  const std::int64_t H = slices.q.shape[1];
  const std::int64_t T = slices.q.shape[2];
  const std::int64_t D = slices.q.shape[3];
  if (call.memory.data != nullptr || !call.caches.empty() || call.options.bias.data != nullptr) {
    throw Error(
        ErrorCode::kUsage,
        "[split] expected disentangled positions of one sequence without a cache or another bias");
  }
  const float scale = call.options.scale.value_or(1.0F / std::sqrt(static_cast<float>(D)));
  const std::int64_t R = 2 * p.span;
  const std::int64_t each = H / slices.k.shape[1];
  std::vector<std::int64_t> row(static_cast<std::size_t>(2 * T - 1));  // of distance n - (T - 1)
  for (std::int64_t n = 0; n < 2 * T - 1; ++n)
    row[static_cast<std::size_t>(n)] = p.row(n - (T - 1));
  Tensor bias = Tensor::zeros(DType::kF32, {B, H, T, T});
  const auto to = bias.view<float, 4>();
  Tensor products(DType::kF32, {T, R});
  const auto found = products.view<float, 2>();
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t h = 0; h < H; ++h) {
      // Both ways look up the distance from the row to the key.
      const auto add = [&](const View<const float, 4>& heads,
                           std::int64_t head,
                           const Linear& map,
                           bool by_row) {
        map(rows_of_head(heads, b, head), found);
        parallel_for(T, [&](std::int64_t i) {
          for (std::int64_t j = 0; j < T; ++j)
            to(b, h, i, j) +=
                scale * found(by_row ? i : j, row[static_cast<std::size_t>(i - j + T - 1)]);
        });
      };
      const auto n = static_cast<std::size_t>(h);
      if (!p.keys.empty()) add(slices.q, h, *p.keys[n], true);
      if (!p.queries.empty()) add(slices.k, h / each, *p.queries[n], false);
    }
  }
  return bias;
}

}  // namespace headscope
