#include <fmt/format.h>

#include <algorithm>

#include "attention/latent.h"
#include "headscope/attention.h"
#include "headscope/linear.h"
#include "headscope/threads.h"

namespace headscope {

namespace {

template <typename T>
View<T, 2> as_rows(const View<T, 3>& x) {
  if (x.shape[0] != 1 && x.stride[0] != x.shape[1] * x.stride[1])
    throw Error(ErrorCode::kShape,
                "[project] expected rows at one distance, found strides " + to_string(x.stride));
  return View<T, 2>(x.data, {x.shape[0] * x.shape[1], x.shape[2]}, {x.stride[1], x.stride[2]});
}

View<float, 2> columns(View<float, 2> rows, std::int64_t first, std::int64_t count) {
  return {rows.data + first, {rows.shape[0], count}, rows.stride};
}

void clip_to(float limit, View<float, 2> rows) {
  parallel_for(rows.shape[0], [&](std::int64_t i) {
    float* row = rows.data + i * rows.stride[0];
    for (std::int64_t c = 0; c < rows.shape[1]; ++c) row[c] = std::clamp(row[c], -limit, limit);
  });
}

}  // namespace

void project(const AttentionWeights& weights,
             View<const float, 3> x,
             View<const float, 3> memory,
             const Projected& rows) {
  if (weights.latent != nullptr) {
    project_latent(weights, as_rows(x), as_rows(rows.q), as_rows(rows.kv));
    return;
  }
  const std::int64_t queries = rows.q.shape[2];
  std::int64_t at = 0;
  std::vector<const Linear*> asking, asked;  // maps of x, maps of memory
  std::vector<View<float, 2>> ask, answer;   // what they write
  for (const auto& map : weights.qkv) {
    // A map that gives queries and more writes on into the columns behind them.
    if (at < queries) {
      asking.push_back(map.get());
      ask.push_back(columns(as_rows(rows.q), at, map->out()));
    } else if (rows.kv.data != nullptr) {
      asked.push_back(map.get());
      answer.push_back(columns(as_rows(rows.kv), at - queries, map->out()));
    }
    at += map->out();
  }
  if (memory.data == x.data && !asked.empty()) {  // One read of x for all.
    asking.insert(asking.end(), asked.begin(), asked.end());
    ask.insert(ask.end(), answer.begin(), answer.end());
    asked.clear();
  }
  Linear::multiply(asking, as_rows(x), ask);
  if (!asked.empty()) Linear::multiply(asked, as_rows(memory), answer);
  if (weights.clip > 0.0F) {
    clip_to(weights.clip, as_rows(rows.q));
    if (rows.kv.data != nullptr) clip_to(weights.clip, as_rows(rows.kv));
  }
}

void project(const AttentionWeights& weights, View<const float, 3> x, View<float, 3> qkv) {
  project(weights, x, x, self_columns(weights, qkv));
}

Projected self_columns(const AttentionWeights& w, View<float, 3> qkv) {
  const std::int64_t queries = w.heads * w.width;
  const std::int64_t others = w.groups * (w.width + w.value_width);
  if (qkv.shape[2] != queries + others || !qkv.contiguous()) {
    throw Error(ErrorCode::kShape,
                fmt::format("[split] expected contiguous [B,T,{}], found {}",
                            queries + others,
                            to_string(qkv.shape)));
  }
  const auto [B, T, N] = qkv.shape;
  return {{qkv.data, {B, T, queries}, qkv.stride},
          {qkv.data + queries, {B, T, others}, qkv.stride}};
}

void output(const AttentionWeights& weights, View<const float, 3> merged, View<float, 3> out) {
  (*weights.output)(as_rows(merged), as_rows(out));
}

}  // namespace headscope
