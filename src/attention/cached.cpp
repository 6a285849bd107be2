// Where steps 2 and 3 meet the caches of a call: sequences then have lengths of their own, so focus takes
// them one by one.
#include "attention/cached.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "headscope/linear.h"

namespace headscope {

namespace {

template <typename T>
View<T, 4> one(const View<T, 4>& all, std::int64_t b, std::int64_t rows) {
  View<T, 4> part = all;
  part.data += b * all.stride[0];
  part.shape[0] = 1;
  part.shape[2] = rows;
  return part;
}

template <typename T>
View<T, 4> batch_of_one(const View<T, 3>& x) {
  return {x.data,
          {1, x.shape[0], x.shape[1], x.shape[2]},
          {x.shape[0] * x.stride[0], x.stride[0], x.stride[1], x.stride[2]}};
}

// The options of a call as its sequence b sees them.
FocusOptions options_of(const AttentionCall& call,
                        std::int64_t b,
                        std::int64_t kept,
                        std::int64_t rows) {
  FocusOptions o = call.options;
  const std::int64_t first = call.caches[static_cast<std::size_t>(b)]->first(call.layer);
  o.key_mask = {};
  o.prefix = std::max<std::int64_t>(0, o.prefix - first);  // it counts keys from position 0
  if (!call.remembered) o.query_offset = kept - rows;
  if (o.bias.data == nullptr) return o;
  if (o.bias.shape[0] > 1) o.bias.data += b * o.bias.stride[0];
  o.bias.shape[0] = 1;
  o.bias.shape[2] = std::min(o.bias.shape[2], rows);
  // So does it; a window has dropped some.
  o.bias.data += first;
  o.bias.shape[3] = std::min(o.bias.shape[3] - first, kept);
  return o;
}

// Rows asked and answered in bf16: both are rounded on their way.
void focus_bf16(const FocusInputOf<bf16>& kept,
                View<const float, 4> q,
                const FocusOutput& out,
                const AttentionCall& call) {
  const auto [B, H, T, D] = q.shape;
  const std::int64_t Dv = kept.v.shape[3];
  Tensor narrow(DType::kBF16, {B, H, T, D});
  Tensor found(DType::kBF16, {B, H, T, Dv});
  const auto to = narrow.view<bf16, 4>();
  for (std::int64_t h = 0; h < H; ++h) {
    for (std::int64_t i = 0; i < T; ++i) {
      for (std::int64_t d = 0; d < D; ++d) to(0, h, i, d) = to_bf16(q(0, h, i, d));
    }
  }
  focus(FocusInputOf<bf16>{std::as_const(narrow).view<bf16, 4>(), kept.k, kept.v, kept.options},
        FocusOutputOf<bf16>{found.view<bf16, 4>(), out.lse},
        call.sight,
        call.record);
  const auto from = found.view<bf16, 4>();
  for (std::int64_t h = 0; h < H; ++h) {
    for (std::int64_t i = 0; i < T; ++i) {
      for (std::int64_t d = 0; d < Dv; ++d) out.out(0, h, i, d) = to_f32(from(0, h, i, d));
    }
  }
}

void clear(View<float, 4> out) {
  for (std::int64_t h = 0; h < out.shape[1]; ++h) {
    for (std::int64_t i = 0; i < out.shape[2]; ++i)
      std::fill_n(&out(0, h, i, 0), out.shape[3], 0.0F);
  }
}

}  // namespace

std::int64_t leading_rows(View<const std::uint8_t, 2> rows, std::int64_t b, std::int64_t T) {
  if (rows.data == nullptr) return T;
  std::int64_t n = 0;
  while (n < T && rows(b, n) != 0) ++n;
  for (std::int64_t i = n; i < T; ++i) {
    if (rows(b, i) != 0) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("[cache] expected padding behind the tokens alone, found token {} of "
                              "sequence {} behind some",
                              i,
                              b));
    }
  }
  return n;
}

void append(const Slices& slices,
            View<const std::uint8_t, 2> rows,
            std::span<KvCache* const> caches,
            std::size_t layer) {
  for (std::size_t n = 0; n < caches.size(); ++n) {
    const auto b = static_cast<std::int64_t>(n);
    View<const float, 3> k = slices.k[b];
    View<const float, 3> v = slices.v[b];
    k.shape[1] = v.shape[1] = leading_rows(rows, b, k.shape[1]);
    caches[n]->append(layer, k, v);
  }
}

void focus(const Slices& slices, const FocusOutput& out, const AttentionCall& call) {
  if (call.caches.empty()) {
    FocusInput in{slices.q, slices.k, slices.v, call.options};
    if (slices.bias != nullptr) in.options.bias = slices.bias->view<float, 4>();
    focus(in, out, call.sight, call.record);
    return;
  }
  const std::int64_t B = slices.q.shape[0];
  const std::int64_t T = slices.q.shape[2];
  if (call.sight != nullptr && B > 1) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[sight] expected one sequence with a cache, found {}", B));
  }
  for (std::int64_t b = 0; b < B; ++b) {
    const KvCache& cache = *call.caches[static_cast<std::size_t>(b)];
    const std::int64_t rows = leading_rows(call.rows, b, T);
    if (rows < T) clear(one(out.out, b, T));
    if (rows == 0) continue;
    FocusOutput part{one(out.out, b, rows), {}};
    if (out.lse.data != nullptr) {
      part.lse = {
          out.lse.data + b * out.lse.stride[0], {1, out.lse.shape[1], rows}, out.lse.stride};
    }
    const auto q = one(slices.q, b, rows);
    if (cache.dtype() == DType::kBF16) {
      const auto k = batch_of_one(cache.keys<bf16>(call.layer));
      const auto v = batch_of_one(cache.values<bf16>(call.layer));
      focus_bf16({{}, k, v, options_of(call, b, k.shape[2], rows)}, q, part, call);
    } else {
      const auto k = batch_of_one(cache.keys<float>(call.layer));
      const auto v = batch_of_one(cache.values<float>(call.layer));
      focus(FocusInput{q, k, v, options_of(call, b, k.shape[2], rows)},
            part,
            call.sight,
            call.record);
    }
  }
}

void remember(const AttentionWeights& w,
              View<const float, 3> memory,
              View<const std::uint8_t, 2> rows,
              std::span<KvCache* const> caches,
              std::size_t layer) {
  const std::int64_t B = memory.shape[0];
  const std::int64_t T = memory.shape[1];
  const std::int64_t C = memory.shape[2];
  const std::int64_t queries = w.heads * w.width;
  const std::int64_t others = w.groups * (w.width + w.value_width);
  Tensor kv(DType::kF32, {B, T, others});
  const View<const float, 2> from(memory.data, {B * T, C});
  std::int64_t at = 0;
  for (const auto& map : w.qkv) {
    if (at >= queries)
      (*map)(from, {kv.span<float>().data() + at - queries, {B * T, map->out()}, {others, 1}});
    at += map->out();
  }
  const float* base = kv.span<float>().data();
  const auto heads = [&](std::int64_t first, std::int64_t width) {
    return View<const float, 4>(
        base + first, {B, w.groups, T, width}, {T * others, width, others, 1});
  };
  append(
      {{}, heads(0, w.width), heads(w.groups * w.width, w.value_width), {}}, rows, caches, layer);
}

}  // namespace headscope
