#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "headscope/attention.h"
#include "headscope/threads.h"
#include "kernels/heads.h"
#include "kernels/isa.h"

namespace headscope {

namespace {

// The queries or the keys of every token, side by side in the projected rows, and their norm.
struct NormedPart {
  const char* name;
  std::int64_t first;     // where they begin in a row
  std::int64_t numbers;   // H*D or G*D
  std::int64_t together;  // how many are normed together
  const View<const float, 1>& weight;
  const View<const float, 1>& bias;
};

void check_part(const NormedPart& part, const HeadNorm& norm) {
  for (const View<const float, 1>* w : {&part.weight, &part.bias}) {
    if (w->data == nullptr) continue;
    if ((w->shape[0] != part.together && w->shape[0] != part.numbers) || !w->contiguous()) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[split] expected contiguous [{}] or [{}] as {} of the norm of {}, "
                              "found {}",
                              part.together,
                              part.numbers,
                              w == &part.weight ? "weight" : "bias",
                              part.name,
                              to_string(w->shape)));
    }
  }
  if (norm.kind == HeadNorm::Kind::kRms && part.bias.data != nullptr) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("[split] expected no bias in the RMS norm of {}, found one", part.name));
  }
}

void norm_row(const NormedPart& part,
              const HeadNorm& norm,
              const kernels::Table& table,
              const kernels::HeadBodies& bodies,
              float* row) {
  for (std::int64_t at = 0; at < part.numbers; at += part.together) {
    const auto here = [&](const View<const float, 1>& w) {
      return w.data == nullptr || w.shape[0] == part.together ? w.data : w.data + at;
    };
    float* x = row + part.first + at;
    if (norm.kind == HeadNorm::Kind::kRms)
      bodies.rms_norm(x, here(part.weight), norm.eps, part.together, x);
    else
      table.layer_norm(x, here(part.weight), here(part.bias), norm.eps, part.together, x);
  }
}

void norm_heads(const AttentionWeights& w, View<float, 3> qkv) {
  const HeadNorm& norm = w.norm;
  if (norm.kind == HeadNorm::Kind::kNone) return;
  const bool all = norm.over == HeadNorm::Over::kAllHeads;
  const std::int64_t queries = w.heads * w.width;
  const std::int64_t keys = w.groups * w.width;
  const NormedPart parts[] = {
      {"q", 0, queries, all ? queries : w.width, norm.q_weight, norm.q_bias},
      {"k", queries, keys, all ? keys : w.width, norm.k_weight, norm.k_bias}};
  for (const NormedPart& part : parts) check_part(part, norm);
  if (!std::isfinite(norm.eps) || norm.eps < 0.0F) {
    throw Error(ErrorCode::kRange,
                fmt::format("[split] expected a finite eps of 0 or more, found {}", norm.eps));
  }
  constexpr std::int64_t kTokens = 64;
  const std::int64_t rows = qkv.shape[0] * qkv.shape[1];
  const kernels::Table& table = kernels::table();
  const kernels::HeadBodies bodies = kernels::head_bodies(table.name);
  parallel_for((rows + kTokens - 1) / kTokens, [&](std::int64_t task) {
    for (std::int64_t i = task * kTokens; i < std::min(rows, (task + 1) * kTokens); ++i) {
      for (const NormedPart& part : parts)
        norm_row(part, norm, table, bodies, qkv.data + i * qkv.shape[2]);
    }
  });
}

// Positions of a call that gives none: counted from its first one, anew in each packed sequence.
Tensor counted_positions(const AttentionCall& call, std::int64_t T) {
  if (constexpr std::int64_t kFar = std::int64_t{1} << 52;
      call.first_position < -kFar || call.first_position > kFar) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[split] expected first_position up to 2^52, found {}", call.first_position));
  }
  Tensor positions(DType::kI64, {1, T});
  const auto p = positions.span<std::int64_t>();
  std::iota(p.begin(), p.end(), call.first_position);
  const View<const std::int32_t, 1>& cu = call.options.cu_seqlens_q;
  for (std::int64_t n = 0; cu.data != nullptr && n + 1 < cu.shape[0]; ++n) {
    // focus refuses numbers that do not rise from 0 to T; here they only must not lead astray.
    const std::int64_t begin = std::clamp<std::int64_t>(cu(n), 0, T);
    const std::int64_t end = std::clamp<std::int64_t>(cu(n + 1), begin, T);
    std::iota(p.begin() + begin, p.begin() + end, call.first_position);
  }
  return positions;
}

// Queries and keys lie side by side in a row, so that all of them turn with one row of cos and sin.
void rotate_heads(const AttentionWeights& w, View<float, 3> qkv, const AttentionCall& call) {
  if (w.rotary.style == Rotary::Style::kNone) return;
  const auto [B, T, N] = qkv.shape;
  const bool given = call.positions.data != nullptr;
  const Tensor counted = given ? Tensor() : counted_positions(call, T);
  rotate(w.rotary,
         {qkv.data, {B, w.heads + w.groups, T, w.width}, {T * N, w.width, N, 1}},
         given ? call.positions : counted.view<std::int64_t, 2>());
}

}  // namespace

Slices split(const AttentionWeights& weights, View<float, 3> qkv, const AttentionCall& call) {
  const std::int64_t numbers =
      (weights.heads + weights.groups) * weights.width + weights.groups * weights.value_width;
  if (qkv.shape[2] != numbers || !qkv.contiguous()) {
    throw Error(
        ErrorCode::kShape,
        fmt::format(
            "[split] expected contiguous [B,T,{}], found {}", numbers, to_string(qkv.shape)));
  }
  norm_heads(weights, qkv);
  rotate_heads(weights, qkv, call);
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
