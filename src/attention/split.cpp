#include <string>

#include "headscope/attention.h"

namespace headscope {

Slices split(const AttentionWeights& weights, View<const float, 3> qkv) {
  const std::int64_t numbers =
      (weights.heads + weights.groups) * weights.width + weights.groups * weights.value_width;
  if (qkv.shape[2] != numbers || !qkv.contiguous()) {
    throw Error(ErrorCode::kShape,
                "[split] expected contiguous [B,T," + std::to_string(numbers) + "], found " +
                    to_string(qkv.shape));
  }
  const std::int64_t B = qkv.shape[0];
  const std::int64_t T = qkv.shape[1];
  const std::int64_t N = qkv.shape[2];
  const auto heads = [&](std::int64_t first, std::int64_t count, std::int64_t width) {
    return View<const float, 4>(qkv.data + first, {B, count, T, width}, {T * N, width, N, 1});
  };
  const std::int64_t keys = weights.heads * weights.width;
  const std::int64_t values = keys + weights.groups * weights.width;
  return {heads(0, weights.heads, weights.width),
          heads(keys, weights.groups, weights.width),
          heads(values, weights.groups, weights.value_width)};
}

}  // namespace headscope
