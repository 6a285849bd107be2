#include "attention/trace.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "attention/edits.h"
#include "headscope/linear.h"

namespace headscope {

namespace {

template <int N>
Tensor copy(const View<const float, N>& from) {
  Tensor to(DType::kF32, Shape(from.shape.begin(), from.shape.end()));
  float* at = to.span<float>().data();
  if constexpr (N == 1) {
    for (std::int64_t i = 0; i < from.shape[0]; ++i) at[i] = from(i);
  } else {
    const std::int64_t each = from.shape[0] == 0 ? 0 : from.size() / from.shape[0];
    for (std::int64_t i = 0; i < from.shape[0]; ++i, at += each) {
      const Tensor part = copy<N - 1>(from[i]);
      if (each > 0) std::memcpy(at, part.raw(), part.bytes());
    }
  }
  return to;
}

}  // namespace

namespace {

void check_projection(const AttentionWeights& w,
                      View<const float, 3> x,
                      const AttentionCall& call) {
  const std::int64_t projected = (w.heads + w.groups) * w.width + w.groups * w.value_width;
  const bool whole = w.latent != nullptr && w.groups == w.heads;
  std::int64_t found = whole ? projected : 0;
  std::int64_t in = whole ? w.latent->down->in() : -1;
  for (const auto& map : w.qkv) {
    found += map->out();
    in = in < 0 ? map->in() : in;
  }
  if (w.output == nullptr || in != x.shape[2] || found != projected ||
      w.output->in() != w.heads * w.value_width) {
    throw Error(
        ErrorCode::kShape,
        fmt::format(
            "[project] expected x [B,T,{}] and {} projected numbers a token, found x {} and {}",
            in,
            projected,
            to_string(x.shape),
            found));
  }
  if (call.memory.data != nullptr && call.memory.shape[0] != x.shape[0]) {
    throw Error(ErrorCode::kShape,
                fmt::format("[project] expected a memory of {} sequences, found {}",
                            x.shape[0],
                            to_string(call.memory.shape)));
  }
  if (!call.caches.empty() && static_cast<std::int64_t>(call.caches.size()) != x.shape[0]) {
    throw Error(ErrorCode::kShape,
                fmt::format("[split] expected one cache for each of {} sequences, found {}",
                            x.shape[0],
                            call.caches.size()));
  }
}

}  // namespace

Workspace::Workspace(const AttentionWeights& w,
                     View<const float, 3> x,
                     View<float, 3> out,
                     const AttentionCall& call)
    : weights_(w), call_(call), x_(x), out_(out) {
  const auto [B, T, C] = x.shape;
  check_projection(w, x, call);
  if (out.shape != std::array{B, T, w.output->out()} || !x.contiguous() || !out.contiguous()) {
    throw Error(ErrorCode::kShape,
                fmt::format("[output] expected contiguous x and out [{},{},{}], found out {}",
                            B,
                            T,
                            w.output->out(),
                            to_string(out.shape)));
  }
  check_edits(call.edits, w.heads, B, T, w.value_width);
  const std::int64_t queries = w.heads * w.width;
  const std::int64_t others = w.groups * (w.width + w.value_width);
  const bool cross = call.memory.data != nullptr || call.remembered;
  qkv_ = Tensor(DType::kF32, {B, T, queries + (cross ? 0 : others)});
  projected_.q = {qkv_.span<float>().data(), {B, T, queries}, {T * qkv_.dim(2), qkv_.dim(2), 1}};
  if (!cross) {
    projected_.kv = {projected_.q.data + queries, {B, T, others}, projected_.q.stride};
  } else if (!call.remembered) {
    memory_ = Tensor(DType::kF32, {B, call.memory.shape[1], others});
    projected_.kv = memory_.view<float, 3>();
  }
  merged_ = Tensor(DType::kF32, {B, T, w.heads * w.value_width});
  if (call.trace != nullptr) lse_ = Tensor(DType::kF32, {B, w.heads, T});
}

void Workspace::trace_findings(const Slices& slices) {
  if (call_.trace == nullptr) return;
  AttentionTrace& trace = *call_.trace;
  trace.x = copy<3>(x_);
  trace.q = copy<4>(slices.q);
  if (slices.k.data != nullptr) {
    trace.k = copy<4>(slices.k);
    trace.v = copy<4>(slices.v);
  }
  trace.z = copy<4>(as_heads(merged(), weights_.heads));
  trace.lse = lse_.clone();
  trace.options = call_.options;
  trace.options.scale =
      call_.options.scale.value_or(1.0F / std::sqrt(static_cast<float>(weights_.width)));
}

void Workspace::trace_output() {
  if (call_.trace == nullptr) return;
  call_.trace->merged = merged_.clone();
  call_.trace->out = copy<3>(out_);
}

}  // namespace headscope
