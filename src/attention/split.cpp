#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "attention/cached.h"
#include "attention/disentangled.h"
#include "attention/latent.h"
#include "headscope/attention.h"
#include "headscope/threads.h"
#include "kernels/heads.h"
#include "kernels/isa.h"

namespace headscope {

namespace {

// The queries or the keys of every token, side by side in the projected rows, and their norm.
struct NormedPart {
  const char* name;
  View<float, 3> rows;    // they begin each row
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
    float* x = row + at;
    if (norm.kind == HeadNorm::Kind::kRms)
      bodies.rms_norm(x, here(part.weight), norm.eps, part.together, x);
    else
      table.layer_norm(x, here(part.weight), here(part.bias), norm.eps, part.together, x);
  }
}

void norm_part(const NormedPart& part, const HeadNorm& norm) {
  constexpr std::int64_t kTokens = 64;
  const std::int64_t T = part.rows.shape[1];
  const std::int64_t rows = part.rows.shape[0] * T;
  const kernels::Table& table = kernels::table();
  const kernels::HeadBodies bodies = kernels::head_bodies(table.name);
  parallel_for((rows + kTokens - 1) / kTokens, [&](std::int64_t task) {
    for (std::int64_t i = task * kTokens; i < std::min(rows, (task + 1) * kTokens); ++i)
      norm_row(part, norm, table, bodies, &part.rows(i / T, i % T, 0));
  });
}

void norm_heads(const AttentionWeights& w, const Projected& rows) {
  const HeadNorm& norm = w.norm;
  if (norm.kind == HeadNorm::Kind::kNone) return;
  const bool all = norm.over == HeadNorm::Over::kAllHeads;
  const std::int64_t queries = w.heads * w.width;
  const std::int64_t keys = w.groups * w.width;
  const NormedPart parts[] = {
      {"q", rows.q, queries, all ? queries : w.width, norm.q_weight, norm.q_bias},
      {"k", rows.kv, keys, all ? keys : w.width, norm.k_weight, norm.k_bias}};
  for (const NormedPart& part : parts) check_part(part, norm);
  if (!std::isfinite(norm.eps) || norm.eps < 0.0F) {
    throw Error(ErrorCode::kRange,
                fmt::format("[split] expected a finite eps of 0 or more, found {}", norm.eps));
  }
  for (const NormedPart& part : parts) {
    if (part.rows.data != nullptr) norm_part(part, norm);
  }
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

View<float, 4> heads_of(View<float, 3> rows,
                        std::int64_t first,
                        std::int64_t count,
                        std::int64_t width) {
  return {rows.data + first,
          {rows.shape[0], count, rows.shape[1], width},
          {rows.stride[0], width, rows.stride[1], 1}};
}

// Queries and keys lie side by side in a row, so that all of them turn with one row of cos and sin.
void rotate_heads(const AttentionWeights& w, const Projected& rows, const AttentionCall& call) {
  const Rotary& rotary = call.rotary == nullptr ? w.rotary : *call.rotary;
  if (rotary.style == Rotary::Style::kNone) return;
  if (rows.kv.data != rows.q.data + rows.q.shape[2]) {
    throw Error(ErrorCode::kUsage,
                "[split] expected no rotary positions in cross attention, found some");
  }
  const bool given = call.positions.data != nullptr;
  const Tensor counted = given ? Tensor() : counted_positions(call, rows.q.shape[1]);
  rotate(rotary,
         heads_of(rows.q, 0, w.heads + w.groups, w.width),
         given ? call.positions : counted.view<std::int64_t, 2>());
}

}  // namespace

Slices split(const AttentionWeights& w, const Projected& rows, const AttentionCall& call) {
  norm_heads(w, rows);
  rotate_heads(w, rows, call);
  Slices slices{heads_of(rows.q, 0, w.heads, w.width), {}, {}, {}};
  if (rows.kv.data == nullptr) return slices;
  slices.k = heads_of(rows.kv, 0, w.groups, w.width);
  slices.v = heads_of(rows.kv, w.groups * w.width, w.groups, w.value_width);
  append(slices, call.rows, call.caches, call.layer);
  if (w.disentangled != nullptr)
    slices.bias = std::make_shared<const Tensor>(disentangled_bias(*w.disentangled, slices, call));
  return slices;
}

Slices split(const AttentionWeights& weights, View<float, 3> qkv, const AttentionCall& call) {
  return split(weights, self_columns(weights, qkv), call);
}

}  // namespace headscope
